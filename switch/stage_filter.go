package vswitch

import "math/bits"

// Stage filter: drops the frames that a port's filter does not accept, on their way in and, for
// each destination, on their way out. It runs only for ports that have a filter.
//
// A frame's fields are read once for a batch, however many filters see the frame. The fields of a
// filter are taken one after the other, each for all frames, so that look-ups overlap.
//
// Locking: none. A filterer belongs to one Inlet; the counters of rules are atomic, and added to
// once for each batch.

// A filterer is the memory that filters need. Only inlets whose frames have been filtered have one.
type filterer struct {
	read uint64 // frames of the batch whose keys are valid
	keys [MaxBatch]filterKey

	sums    [MaxBatch]uint64                  // words of the rules' vector that have to be looked at
	vectors [MaxBatch][numFilterFields]uint32 // of the classes of each frame: offsets in classifier.vectors

	tallies []ruleTally // by rule
	touched []uint16    // rules whose tallies are not zero
}

// A ruleTally is the frames of a batch that match a rule.
type ruleTally struct {
	frames  uint64
	unclear uint64 // frames that the rule drops because a field cannot be read
	bytes   int
}

// filterIngress applies the source port's filter.
func (in *Inlet) filterIngress(frames []Frame) {
	b := &in.batch
	if lost := in.filter(stageFilter, b.src.ingressFilter, b.src, b.remaining(), frames); lost != 0 {
		b.discard(lost)
	}
}

// filter applies a filter of port v to a set of frames, counts them at the rules, drops those that
// the filter does not accept, and returns these. For the filter of a mirror, v is nil, and nothing
// is dropped. at is the filter's place in the pipeline.
func (in *Inlet) filter(at stage, f *filter, v *portView, set uint64, frames []Frame) (lost uint64) {
	if in.filterer == nil {
		in.filterer = new(filterer)
	}
	w := in.filterer
	if len(w.tallies) < len(f.rules) {
		w.tallies = make([]ruleTally, len(f.rules))
		w.touched = make([]uint16, 0, len(f.rules))
	}
	for m := set &^ w.read; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m) & (MaxBatch - 1)
		w.keys[i].read(&frames[i])
	}
	w.read |= set
	w.classify(f, set)
	for m := set; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m) & (MaxBatch - 1)
		w.decide(f, i, frames[i].cameLen())
	}
	return in.settleRules(at, f, v)
}

// cameLen returns the length of a frame with the tags with which it came.
func (f *Frame) cameLen() int {
	switch v := &f.verdict; {
	case v.came() == (v.now != noTag):
		return f.Len
	case v.came():
		return f.Len + vlanTagLen
	}
	return f.Len - vlanTagLen
}

// classify finds the classes of a set of frames in all fields of a filter.
func (w *filterer) classify(f *filter, set uint64) {
	for m := set; m != 0; m &= m - 1 {
		w.sums[bits.TrailingZeros64(m)&(MaxBatch-1)] = f.summed
	}
	for j := range f.fields {
		c := &f.fields[j]
		for m := set; m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m) & (MaxBatch - 1)
			class := c.class(&w.keys[i])
			w.sums[i] &= c.sums[class]
			w.vectors[i][j] = class * uint32(f.words)
		}
	}
}

// decide finds the rules that match frame i, of a length in bytes, up to the one that decides.
func (w *filterer) decide(f *filter, i, length int) {
	for s := w.sums[i]; s != 0; s &= s - 1 {
		word := bits.TrailingZeros64(s)
		match := f.all[word]
		for j := range f.fields {
			match &= f.fields[j].vectors[int(w.vectors[i][j])+word]
		}
		for ; match != 0; match &= match - 1 {
			rule := word*64 + bits.TrailingZeros64(match)
			w.tally(f, rule, i, length)
			if f.rules[rule].action != FilterCount {
				return
			}
		}
	}
	w.tally(f, len(f.rules)-1, i, length)
}

// tally counts frame i at a rule.
func (w *filterer) tally(f *filter, rule, i, length int) {
	t := &w.tallies[rule]
	if t.frames == 0 {
		w.touched = append(w.touched, uint16(rule))
	}
	t.frames |= 1 << i
	t.bytes += length
	if f.rules[rule].uses&w.keys[i].unread != 0 {
		t.unclear |= 1 << i
	}
}

// settleRules adds the tallies to the counters of the rules, drops the frames of rules that drop,
// at port v unless that is nil, and returns these frames.
func (in *Inlet) settleRules(at stage, f *filter, v *portView) (lost uint64) {
	w := in.filterer
	for _, i := range w.touched {
		t, r := &w.tallies[i], &f.rules[i]
		r.counters.Frames.Add(uint64(bits.OnesCount64(t.frames)))
		r.counters.Bytes.Add(uint64(t.bytes))
		if r.action == FilterDrop {
			lost |= t.frames
			if clear := t.frames &^ t.unclear; clear != 0 && v != nil {
				in.dropByRule(at, DropFilter, v, clear, r)
			}
			if t.unclear != 0 && v != nil {
				in.dropByRule(at, DropUnreadable, v, t.unclear, r)
			}
		}
		*t = ruleTally{}
	}
	w.touched = w.touched[:0]
	return lost
}

// reset forgets the frames of the last batch.
func (w *filterer) reset() {
	if w != nil {
		w.read = 0
	}
}
