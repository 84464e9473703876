package daemon

import (
	"time"

	"github.com/hashicorp/go-hclog"

	vswitch "vswitchd/switch"
)

const (
	conflictCheck = time.Second // interval of the checks for address conflicts
	conflictEvery = time.Minute // minimum interval of warnings for one port and kind of conflict
)

// manyFlaps is the number of flaps at a port between two checks from which a warning is logged. A
// single station that moves between two ports causes fewer.
const manyFlaps = 5

// A conflictLog logs warnings about addresses that are seen on two ports.
type conflictLog struct {
	log    hclog.Logger
	warned map[conflictKey]*conflictState
}

type conflictKey struct {
	port string
	kind vswitch.ConflictKind
}

type conflictState struct {
	at      time.Time // time of the last warning
	pending uint64    // conflicts counted since then
}

// report logs the conflicts in list, which have occurred since the last call, at a limited rate.
func (c *conflictLog) report(now time.Time, list []vswitch.Conflict) {
	for key, s := range c.warned {
		if now.Sub(s.at) >= conflictEvery && s.pending == 0 {
			delete(c.warned, key)
		}
	}
	for _, f := range list {
		key := conflictKey{f.Port, f.Kind}
		s := c.warned[key]
		if s == nil {
			if f.Kind == vswitch.ConflictFlap && f.Count < manyFlaps {
				continue
			}
			s = &conflictState{}
			c.warned[key] = s
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
		c.log.Warn("MAC addresses move back and forth between ports: there is a loop, or two stations use the same address",
			"port", f.Port, "other", f.Other, "times", times, "mac", f.MAC, "vlan", f.VLAN)
	case vswitch.ConflictHeld:
		c.log.Warn("MAC addresses that move too often stay where they are for switch.mac_hold_down: there is a loop, or two stations use the same address",
			"port", f.Port, "other", f.Other, "frames", times, "mac", f.MAC, "vlan", f.VLAN)
	case vswitch.ConflictLimit:
		c.log.Warn("a port sends from more addresses than max_macs lets it have: they are not learned, frames to them are flooded",
			"port", f.Port, "frames", times, "mac", f.MAC, "vlan", f.VLAN)
	case vswitch.ConflictClaim:
		c.log.Warn("a port received frames with a source address that belongs to another port: there is a loop, or another station uses the address",
			"port", f.Port, "owner", f.Other, "frames", times, "mac", f.MAC, "vlan", f.VLAN)
	}
}
