package vswitch

import "math/bits"

// Showing frames to taps: those that come from a port, before anything has changed them; those that
// a port has accepted, after its Transmit; and dropped ones, when they are counted.
//
// A frame that is dropped on the way to a port may have the tags of another destination by then. So
// the taps are shown a copy of its Head with the tags of that port, which shares the Body.
//
// Locking: none. A tapper belongs to one Inlet.

// A tapper is the memory that showing frames needs. Only inlets whose frames have been shown have
// one.
type tapper struct {
	out     [MaxBatch]*Frame
	copies  copies
	drop    Drop
	scratch [MaxFrameLen]byte
}

func (in *Inlet) tapperOf() *tapper {
	if in.tapper == nil {
		in.tapper = new(tapper)
	}
	return in.tapper
}

// observe shows the frames of a batch that came from the source port to mirrors and taps. It runs
// only if there are any, after the stages that may drop frames without a look-up.
func (in *Inlet) observe(frames []Frame) {
	b := &in.batch
	b.frames = frames
	in.mirrorer.reset()
	in.tapReceived(frames)
	if m := b.src.mirror.src; m != 0 {
		in.mirror(m, b.remaining(), frames)
	}
}

// tapReceived shows all frames of a batch to the taps of the source port.
func (in *Inlet) tapReceived(frames []Frame) {
	v := in.batch.src
	if v == nil || v.taps == nil || len(v.taps.in) == 0 {
		return
	}
	all := ^uint64(0) >> (MaxBatch - len(frames))
	in.show(v.taps.in, Place{Port: v.cfg.Name, Set: all}, gather(&in.tapperOf().out, all, frames))
}

// observeSent shows a group of frames that went to port v to its mirrors and taps. lost are those
// that the port has not accepted, or not wholly.
func (in *Inlet) observeSent(v *portView, group, lost uint64, frames []Frame) {
	sent := group &^ lost
	in.tapSent(Place{Port: v.cfg.Name, Out: true, Set: sent}, v, sent, frames)
	if m := v.mirror.dst; m != 0 {
		in.mirror(m, group, frames)
	}
}

// tapSent shows a set of frames that went to port v to its taps.
func (in *Inlet) tapSent(at Place, v *portView, set uint64, frames []Frame) {
	if v.taps != nil && len(v.taps.out) > 0 && set != 0 {
		in.show(v.taps.out, at, gather(&in.tapperOf().out, set, frames))
	}
}

// tapCopies shows copies of a set of frames that mirrors have sent to port v, in order. Bit i of
// lost stands for the i-th copy, which the port has not accepted.
func (in *Inlet) tapCopies(v *portView, set uint64, list []Frame, lost uint64) {
	sent := (uint64(1)<<len(list) - 1) &^ lost
	in.tapSent(Place{Port: v.cfg.Name, Out: true, Copy: true, Set: pick(set, sent)}, v, sent, list)
}

// gather returns a set of frames as a list.
func gather(room *[MaxBatch]*Frame, set uint64, frames []Frame) []*Frame {
	n := 0
	for ; set != 0; set &= set - 1 {
		room[n&(MaxBatch-1)] = &frames[bits.TrailingZeros64(set)]
		n++
	}
	return room[:n]
}

func (in *Inlet) show(taps []Tap, at Place, frames []*Frame) {
	w := in.tapperOf()
	at.Batch = Batch{in, in.epoch.n.Load()}
	for _, t := range taps {
		t.Show(at, frames, &w.scratch)
	}
}

// tapDropped shows the frames of a drop to the taps of the port at which it is counted.
func (in *Inlet) tapDropped(d *drop) {
	b, v, out := &in.batch, d.port, d.at >= firstEgressStage
	taps := v.taps.dropsIn
	if out {
		taps = v.taps.dropsOut
	}
	if len(taps) == 0 || d.frames == 0 {
		return
	}
	w := in.tapperOf()
	list := gather(&w.out, d.frames, b.frames)
	if out {
		for i, f := range list {
			c := w.copies.add(i, f)
			if d.at == stageMirror {
				v.vlan.shapeCopy(c)
			} else {
				v.vlan.shape(c)
			}
			list[i] = c
		}
	}
	w.drop = Drop{Reason: d.why, Stage: d.at.String()}
	if b.src != nil {
		w.drop.From = b.src.cfg.Name
	}
	if d.rule != nil {
		w.drop.Filter, w.drop.Rule = d.rule.filter, d.rule.name
	}
	in.show(taps, Place{Port: v.cfg.Name, Out: out, Drop: &w.drop, Set: d.frames}, list)
	if out {
		w.copies.release(len(list))
	}
}

// A copies is memory for copies of frames. Their Heads are private, in order that their tags can be
// changed; their Bodies are those of the frames.
type copies struct {
	frames [MaxBatch]Frame
	rooms  [MaxBatch][segmentRoom]byte
}

// add makes the i-th copy.
func (w *copies) add(i int, f *Frame) *Frame {
	c, room := &w.frames[i&(MaxBatch-1)], w.rooms[i&(MaxBatch-1)][:]
	*c = *f
	begin := int(f.verdict.off)
	end := begin + copy(room[begin:], f.Head)
	c.Room, c.Head = room, room[begin:end:end]
	return c
}

// release forgets the Bodies of the first n copies, which may be unmapped after Deliver.
func (w *copies) release(n int) {
	for i := range n {
		w.frames[i].Body = nil
	}
}
