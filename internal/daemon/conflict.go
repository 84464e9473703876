package daemon

import (
	"time"

	"github.com/hashicorp/go-hclog"

	vswitch "vswitchd/switch"
)

// Conflicts of addresses are looked for so often, and told of at most so often for each port and
// kind of conflict.
const (
	conflictCheck = time.Second
	conflictEvery = time.Minute
)

// manyFlaps is how many flaps at a port between two checks are worth a warning: a single station
// that wanders between two ports has fewer.
const manyFlaps = 5

// A conflictLog warns of addresses that show up behind two ports.
type conflictLog struct {
	log  hclog.Logger
	told map[conflictKey]*conflictState
}

type conflictKey struct {
	port string
	kind vswitch.ConflictKind
}

type conflictState struct {
	at      time.Time // of the last warning
	pending uint64    // counted since
}

// tell takes what happened since the last call.
func (c *conflictLog) tell(now time.Time, list []vswitch.Conflict) {
	for key, s := range c.told {
		if now.Sub(s.at) >= conflictEvery && s.pending == 0 {
			delete(c.told, key)
		}
	}
	for _, f := range list {
		key := conflictKey{f.Port, f.Kind}
		s := c.told[key]
		if s == nil {
			if f.Kind == vswitch.ConflictFlap && f.Count < manyFlaps {
				continue
			}
			s = &conflictState{}
			c.told[key] = s
		}
		s.pending += f.Count
		if now.Sub(s.at) < conflictEvery {
			continue
		}
		c.warn(f, s.pending)
		s.at, s.pending = now, 0
	}
}

func (c *conflictLog) warn(f vswitch.Conflict, times uint64) {
	switch f.Kind {
	case vswitch.ConflictFlap:
		c.log.Warn("MAC addresses move to and fro between ports: there is a loop, or a station twice",
			"port", f.Port, "other", f.Other, "times", times, "mac", f.MAC, "vlan", f.VLAN)
	case vswitch.ConflictClaim:
		c.log.Warn("frames came in by a port with a source address that belongs to another: there is a loop, or somebody else uses the address",
			"port", f.Port, "owner", f.Other, "frames", times, "mac", f.MAC, "vlan", f.VLAN)
	}
}
