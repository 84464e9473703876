package vswitch

import "math/bits"

// Stage police: frames beyond the rate that the source port may send are dropped. Only ports with
// such a rate have the stage.
//
// Locking: none. A policing is immutable, except for its buckets; see bucket.go.

// A policing is what a port may send. All inlets of the port share it.
type policing struct {
	bits   *bucket // nil: any number
	frames *bucket // likewise
}

// newPolicing returns the policing of a port with these settings, or nil. Buckets whose settings
// are unchanged are those of was, which may be nil.
func newPolicing(c *PortConfig, was *policing) *policing {
	p := &policing{
		bits:   bitBucket(c.IngressPolicingRate, c.IngressPolicingBurst),
		frames: frameBucket(c.IngressPolicingPPS),
	}
	if *p == (policing{}) {
		return nil
	}
	if was != nil {
		p.bits, p.frames = p.bits.like(was.bits), p.frames.like(was.frames)
	}
	return p
}

// police drops the frames beyond the source port's rates. A frame that passes the limit of frames
// is counted there even if the limit of bits drops the frame.
func (in *Inlet) police(frames []Frame) {
	b, p := &in.batch, in.batch.src.policing
	all := b.remaining()
	left := all
	if p.frames != nil {
		left = in.within(p.frames, left, frames, wireFrames)
	}
	if p.bits != nil {
		left = in.within(p.bits, left, frames, wireBits)
	}
	if lost := all &^ left; lost != 0 {
		in.drop(stagePolice, DropRateLimit, b.src, lost)
		b.discard(lost)
	}
}

// within returns the frames of a set for which bucket k has tokens, and takes the tokens. size
// returns how many a frame takes.
func (in *Inlet) within(k *bucket, set uint64, frames []Frame, size func(*Frame) uint32) uint64 {
	if set == 0 {
		return 0
	}
	b, n := &in.batch, 0
	for m := set; m != 0; m &= m - 1 {
		b.sizes[n&(MaxBatch-1)] = size(&frames[bits.TrailingZeros64(m)])
		n++
	}
	return pick(set, 1<<k.take(in.nanotime(), b.sizes[:n])-1)
}

// nanotime returns the time, in nanoseconds. The clock is read once for each batch, and only if a
// stage asks for the time.
func (in *Inlet) nanotime() int64 {
	b := &in.batch
	if b.nanos == 0 {
		b.nanos = in.sw.nanotime()
	}
	return b.nanos
}

// remaining returns the frames that have not been dropped before lookup.
func (b *batch) remaining() (frames uint64) {
	for i := range b.runs[:b.nruns] {
		frames |= b.runs[i].frames
	}
	return frames
}

// discard removes frames that a stage after classify has dropped from the runs.
func (b *batch) discard(lost uint64) {
	kept := 0
	for i := range b.runs[:b.nruns] {
		r := b.runs[i]
		if r.frames &^= lost; r.frames != 0 {
			b.runs[kept] = r
			kept++
		}
	}
	b.nruns = kept
}
