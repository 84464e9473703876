package control

import "strings"

// add adds the counters of d to c, whose tallies must not be nil.
func (c *Counters) add(d *Counters) {
	c.RxFrames += d.RxFrames
	c.RxBytes += d.RxBytes
	c.TxFrames += d.TxFrames
	c.TxBytes += d.TxBytes
	c.Kicks += d.Kicks
	c.Calls += d.Calls
	c.Reconnects += d.Reconnects
	c.Waited += d.Waited
	for reason, n := range d.Drops {
		c.Drops[reason] += n
	}
	for event, n := range d.FDBEvents {
		c.FDBEvents[event] += n
	}
	c.NeighReplies += d.NeighReplies
	for event, n := range d.NeighEvents {
		c.NeighEvents[event] += n
	}
	for event, n := range d.LoopEvents {
		c.LoopEvents[event] += n
	}
	for event, n := range d.McastEvents {
		c.McastEvents[event] += n
	}
	for reason, n := range d.Resets {
		c.Resets[reason] += n
	}
}

func splitLines(s string) []string {
	return strings.Split(strings.TrimSpace(s), "\n")
}
