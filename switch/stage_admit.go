package vswitch

// Stage admit: frames from a port that is down, blocked or detached, or the output of a mirror, are
// dropped.

// admit looks up the source port, and reports whether the port may send. If not, admit drops all
// frames.
func (in *Inlet) admit(frames []Frame) bool {
	b := &in.batch
	b.src = b.set.get(in.att.id)
	if b.src != nil && b.src.att != in.att { // the id belongs to another port now
		b.src = nil
	}
	why := DropSourceDown
	if b.src != nil && b.src.up {
		if !b.src.mirror.output {
			return true
		}
		why = DropMirrorOutput
	} else if b.src != nil && b.src.blocked {
		in.admitBlocked(frames)
		return false
	}
	c := in.counters
	if b.src != nil {
		c = b.src.counters
	}
	received(c, frames)
	if b.set.observed {
		b.frames = frames
		in.tapReceived(frames)
	}
	in.drop(stageAdmit, why, b.src, 1<<len(frames)-1)
	return false
}

// received counts frames as received.
func received(c *Counters, frames []Frame) {
	n := 0
	for i := range frames {
		n += frames[i].Len
	}
	c.RxFrames.Add(uint64(len(frames)))
	c.RxBytes.Add(uint64(n))
}
