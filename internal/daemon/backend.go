package daemon

import (
	"encoding/json"
	"os"
	"runtime"
	"time"

	"vswitchd/internal/control"
	"vswitchd/internal/version"
	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
)

// Backend returns the daemon's implementation of control.Backend.
func (d *Daemon) Backend() control.Backend { return backend{d} }

type backend struct{ d *Daemon }

// Switch implements control.Backend.
func (b backend) Switch() control.SwitchStatus {
	fdb, up := b.d.sw.Stats(), time.Since(b.d.start)
	st := control.SwitchStatus{
		Version:    version.String(),
		PID:        os.Getpid(),
		Started:    b.d.start.UTC().Format(time.RFC3339Nano),
		UptimeS:    int64(up.Seconds()),
		UptimeNS:   up.Nanoseconds(),
		FDBEntries: fdb.Entries,
		FDBSize:    fdb.TableSize,
		MACAgingS:  int64(fdb.AgingTime.Seconds()),
		FDBEvents:  b.d.sw.FDBEvents().ByName(),

		Processors:  runtime.NumCPU(),
		MDBEntries:  b.d.sw.MDBEntries(),
		McastEvents: b.d.sw.McastEvents().ByName(),
	}
	for _, k := range b.d.kinds {
		st.Limits = append(st.Limits, b.d.openers[k.Declaration().Name].Limits()...)
	}
	st.Limits = append(st.Limits, b.d.memoryLimit()...)
	st.Sandbox = b.d.sandboxStatus()
	st.Captures.Running = len(b.d.capture.List())
	st.Captures.Captured, st.Captures.Lost = b.d.capture.Totals()
	for _, w := range b.d.pool.Stats() {
		st.Workers = append(st.Workers, control.Worker{
			CPU:       w.CPU,
			BusyRatio: w.Busy.Seconds() / w.Up.Seconds(),
			BusyS:     w.Busy.Seconds(),
			Frames:    w.Work,
			Wakeups:   w.Wakeups,
			Pauses:    w.Pauses,
			Sources:   w.Sources,
			Moved:     w.Moved,
			CPUS:      w.Ran.Seconds(),
			WaitedS:   w.Waited.Seconds(),

			Pausing:    w.Pausing,
			Asleep:     w.Asleep,
			AwakeS:     w.Awake.Seconds(),
			EmptyPolls: w.EmptyPolls,
			Batches:    batches(&w),
			Latency:    latency(&w.Latencies),
		})
	}
	return st
}

func batches(w *worker.Stats) control.Histogram {
	h := control.Histogram{Counts: append(w.Batches[:], 0), Sum: float64(w.Work)}
	for _, most := range worker.BatchBounds {
		h.Bounds = append(h.Bounds, float64(most))
	}
	return h
}

func latency(l *worker.Latencies) control.Histogram {
	h := control.Histogram{Counts: l.Counts[:], Sum: l.Sum.Seconds()}
	for _, most := range worker.LatencyBounds {
		h.Bounds = append(h.Bounds, most.Seconds())
	}
	return h
}

// State implements control.Backend.
func (b backend) State() (json.RawMessage, error) {
	doc, err := b.d.State()
	if err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}

// Stats implements control.Backend.
func (b backend) Stats() (list []control.PortStats) {
	for _, p := range b.d.snapshot() {
		list = append(list, p.stats())
	}
	return list
}

// Ports implements control.Backend.
func (b backend) Ports() []control.PortInfo {
	var infos []control.PortInfo
	for _, p := range b.d.snapshot() {
		infos = append(infos, p.info())
	}
	return infos
}

// Port implements control.Backend.
func (b backend) Port(name string) (control.PortDetail, error) {
	for _, p := range b.d.snapshot() {
		if p.cfg.Name == name {
			return p.detail(), nil
		}
	}
	return control.PortDetail{}, control.ErrNotFound
}

// Reasons implements control.Backend.
func (b backend) Reasons(k control.Kind) (r control.Reasons) {
	if kind := b.d.kinds.named(string(k)); kind != nil {
		r = kind.Reasons()
	}
	r.Drops = append(vswitch.DropReasons(), r.Drops...)
	return r
}

func countersInfo(c *vswitch.Counters) control.Counters {
	return control.Counters{
		RxFrames: c.RxFrames.Load(),
		RxBytes:  c.RxBytes.Load(),
		TxFrames: c.TxFrames.Load(),
		TxBytes:  c.TxBytes.Load(),
		Drops:    c.DropsByName(),

		FDBEvents:   c.FDB().ByName(),
		McastEvents: c.Mcast().ByName(),

		NeighReplies: c.Neigh(vswitch.NeighReplies),
		NeighEvents:  c.NeighByName(),

		LoopEvents: c.Loops(),
	}
}
