package daemon

import (
	"sync"
	"time"

	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// Counters never go back: a reset stores their values, from which the control API shows the
// difference to whoever asks for it. So whoever computes rates, such as Prometheus, does not notice
// the resets of others.

// A baseline is what a port had counted when its counters were reset.
type baseline struct {
	at       time.Time
	counters control.Counters
}

// baselines are those of the ports that were reset, by their counters, which stay with a port that
// is renamed or changed.
type baselines struct {
	mu  sync.Mutex
	all map[*vswitch.Counters]baseline // replaced as a whole
}

func (b *baselines) load() map[*vswitch.Counters]baseline {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all
}

// StatsSinceReset implements control.Backend.
func (b backend) StatsSinceReset() (list []control.PortStats) {
	resets := b.d.resets.load() // before the counters: they are not less
	for _, m := range b.d.snapshot() {
		st := m.stats()
		if was, ok := resets[m.counters]; ok {
			st.Counters = st.Counters.Since(&was.counters)
			st.Reset, st.SinceS = true, int64(time.Since(was.at).Seconds())
		}
		list = append(list, st)
	}
	return list
}

// ResetStats implements control.Backend.
func (b backend) ResetStats(port string) (n int, err error) {
	r := &b.d.resets
	r.mu.Lock()
	defer r.mu.Unlock()
	now := make(map[*vswitch.Counters]baseline)
	for _, m := range b.d.snapshot() {
		if port == "" || port == m.cfg.Name {
			now[m.counters] = baseline{time.Now(), m.stats().Counters}
			n++
		} else if was, ok := r.all[m.counters]; ok {
			now[m.counters] = was
		}
	}
	if port != "" && n == 0 {
		return 0, control.ErrNotFound
	}
	r.all = now
	b.d.log.Info("counters were reset by hand", "port", port, "ports", n)
	return n, nil
}
