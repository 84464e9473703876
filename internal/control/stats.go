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

// Since returns what has been counted since c had the values of was.
func (c *Counters) Since(was *Counters) Counters {
	d := *c
	d.RxFrames -= was.RxFrames
	d.RxBytes -= was.RxBytes
	d.TxFrames -= was.TxFrames
	d.TxBytes -= was.TxBytes
	d.Kicks -= was.Kicks
	d.Calls -= was.Calls
	d.Reconnects -= was.Reconnects
	d.NeighReplies -= was.NeighReplies
	d.Waited -= was.Waited
	d.Drops = c.Drops.since(was.Drops)
	d.FDBEvents = c.FDBEvents.since(was.FDBEvents)
	d.Resets = c.Resets.since(was.Resets)
	d.McastEvents = c.McastEvents.since(was.McastEvents)
	d.NeighEvents = c.NeighEvents.since(was.NeighEvents)
	d.LoopEvents = c.LoopEvents.since(was.LoopEvents)
	return d
}

// since returns what has been counted since t had the values of was.
func (t Tally) since(was Tally) Tally {
	d := make(Tally, len(t))
	for name, n := range t {
		d[name] = n - was[name]
	}
	return d
}

func splitLines(s string) []string {
	return strings.Split(strings.TrimSpace(s), "\n")
}
