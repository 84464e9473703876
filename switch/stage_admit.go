package vswitch

// Stage admit: nothing comes in from a port that is down or detached.

// admit looks the source port up, and reports whether frames may come from it. If not, it drops
// all of them.
func (in *Inlet) admit(frames []Frame) bool {
	b := &in.batch
	b.src = b.set.get(in.att.id)
	if b.src != nil && b.src.att != in.att { // the id is another port's by now
		b.src = nil
	}
	if b.src != nil && b.src.up {
		return true
	}
	c := in.counters
	if b.src != nil {
		c = b.src.counters
	}
	received(c, frames)
	in.drop(stageAdmit, DropSourceDown, b.src, 1<<len(frames)-1)
	return false
}

func received(c *Counters, frames []Frame) {
	n := 0
	for i := range frames {
		n += frames[i].Len
	}
	c.RxFrames.Add(uint64(len(frames)))
	c.RxBytes.Add(uint64(n))
}
