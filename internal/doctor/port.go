package doctor

import (
	"slices"
	"strings"

	"vswitchd/internal/control"
)

// A patient is a port as checks see it.
type patient struct {
	*control.PortDetail // the second sample
	before              *control.PortDetail
	c                   *Case
	asked               bool      // the examination is of this port alone
	device              *Device   // of the QEMU that is connected; nil: not known
	others              []*Device // of other processes that have the port's socket in their command lines
}

// newPatient prepares the examination of a port.
func newPatient(c *Case, p *control.PortDetail, asked bool) *patient {
	pt := &patient{PortDetail: p, before: c.before(p), c: c, asked: asked}
	if c.Host == nil || p.Socket == "" {
		return pt
	}
	connected := 0
	if p.Session != nil {
		connected = p.Session.PeerPID
	}
	for i := range c.Host.Processes {
		d := c.Host.Processes[i].device(p.Socket)
		switch {
		case d == nil:
		case d.PID == connected:
			pt.device = d
		default:
			pt.others = append(pt.others, d)
		}
	}
	return pt
}

// running reports whether frames can pass.
func (p *patient) running() bool { return p.State == control.StateRunning }

// guest reports whether the port is a guest's.
func (p *patient) guest() bool { return p.Kind == control.KindGuest }

// drops returns how many frames were dropped for a reason, and how many of them between the two
// samples.
func (p *patient) drops(reason string) (total, grew uint64) {
	return since(p.Counters.Drops, p.before.Counters.Drops, reason)
}

// addresses is drops for events of the FDB.
func (p *patient) addresses(event string) (total, grew uint64) {
	return since(p.Counters.FDBEvents, p.before.Counters.FDBEvents, event)
}

// since returns a count, and how much it has grown since an earlier tally. A count that is less
// than before has begun anew.
func since(now, before control.Tally, name string) (total, grew uint64) {
	total = now[name]
	if was := before[name]; was <= total {
		return total, total - was
	}
	return total, total
}

// perSecond returns a number of events between the two samples as a rate, rounded.
func (c *Case) perSecond(n uint64) uint64 {
	if s := c.Interval.Seconds(); s > 0 {
		return uint64(float64(n)/s + 0.5)
	}
	return 0
}

// rings returns the rings of a direction that are running.
func (p *patient) rings(direction string) (list []*control.Ring) {
	for i := range p.Rings {
		if r := &p.Rings[i]; r.Direction == direction && r.Running && r.Enabled {
			list = append(list, r)
		}
	}
	return list
}

// ringBefore returns the first sample of a ring; nil: there was none.
func (p *patient) ringBefore(index int) *control.Ring {
	for i := range p.before.Rings {
		if r := &p.before.Rings[i]; r.Index == index {
			return r
		}
	}
	return nil
}

// missing returns those of the features that were offered and not acknowledged.
func (p *patient) missing(features ...string) (list []string) {
	for _, f := range features {
		if slices.Contains(p.FeaturesNotAcked, f) {
			list = append(list, f)
		}
	}
	return list
}

// set is the command that changes a key of the port at run time.
func (p *patient) set(assignment string) string {
	noun := map[control.Kind]string{control.KindGuest: "port", control.KindUplink: "uplink", control.KindHost: "host"}[p.Kind]
	return strings.TrimSpace("vswitchctl " + noun + " set " + p.Name + " " + assignment)
}

// words joins names with blanks.
func words(list []string) string { return strings.Join(list, " ") }
