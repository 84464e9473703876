package daemon

import (
	"time"

	"github.com/hashicorp/go-hclog"

	vswitch "vswitchd/switch"
)

// loopsEvery is the minimum interval of warnings about a loop at a port that is not blocked.
const loopsEvery = time.Minute

// A loopLog logs which ports are blocked because of loops. How often a port is blocked is limited
// by the time for which it is.
type loopLog struct {
	log  hclog.Logger
	seen map[string]time.Time // of the last warning about a port that is not blocked, by its name
}

// report logs what has happened since the last call.
func (l *loopLog) report(now time.Time, list []vswitch.LoopReport) {
	for port, at := range l.seen {
		if now.Sub(at) >= loopsEvery {
			delete(l.seen, port)
		}
	}
	for _, r := range list {
		where := []any{"port", r.Port, "other", r.Other, "vlan", r.VLAN}
		switch r.Change {
		case vswitch.LoopBlocked:
			l.log.Warn("a port is blocked: there is a loop outside of the switch, by which a frame that is sent to one of two ports comes back by the other",
				append(where, "for", r.For)...)
		case vswitch.LoopRemains:
			l.log.Warn("a port stays blocked: the loop is still there", append(where, "for", r.For)...)
		case vswitch.LoopReleased:
			l.log.Info("a port is no longer blocked", where...)
		case vswitch.LoopSeen:
			if _, warned := l.seen[r.Port]; !warned {
				l.seen[r.Port] = now
				l.log.Warn("frames that are sent to one of two ports come back by the other: there is a loop, or a device that reflects frames, for which no port is blocked",
					append(where, "probes", r.Count)...)
			}
		}
	}
}
