package vswitch

// Stage storm: flooded frames beyond the limits of the source port are dropped. Only ports with
// such a limit have the stage, and only their flooded frames.
//
// Locking: none. A stormControl is immutable, except for its buckets; see bucket.go.

// A stormControl is how many frames of a port are flooded. All inlets of the port share it. A
// bucket that is nil allows any number.
type stormControl struct {
	bcast, mcast, unknown *bucket
	all                   *bucket // of these three classes together
}

// newStormControl returns the storm control of a port with these settings, or nil. Buckets whose
// settings are unchanged are those of was, which may be nil.
func newStormControl(c *PortConfig, was *stormControl) *stormControl {
	s := &stormControl{
		bcast:   frameBucket(c.StormControlBcastPPS),
		mcast:   frameBucket(c.StormControlMcastPPS),
		unknown: frameBucket(c.StormControlUnknownPPS),
		all:     frameBucket(c.StormControlPPS),
	}
	if *s == (stormControl{}) {
		return nil
	}
	if was != nil {
		s.bcast, s.mcast = s.bcast.like(was.bcast), s.mcast.like(was.mcast)
		s.unknown, s.all = s.unknown.like(was.unknown), s.all.like(was.all)
	}
	return s
}

// controlStorm drops the flooded frames beyond the source port's limits. A frame that is beyond the
// limit of its class does not count against the limit of all classes.
func (in *Inlet) controlStorm(frames []Frame) {
	b, s := &in.batch, in.batch.src.storm
	all := b.flooded()
	if s.bcast != nil {
		b.bcast = in.within(s.bcast, b.bcast, frames, wireFrames)
	}
	if s.mcast != nil {
		b.mcast = in.within(s.mcast, b.mcast, frames, wireFrames)
	}
	if s.unknown != nil {
		b.unknown = in.within(s.unknown, b.unknown, frames, wireFrames)
	}
	left := b.flooded()
	if s.all != nil {
		left = in.within(s.all, left, frames, wireFrames)
		b.bcast, b.mcast, b.unknown = b.bcast&left, b.mcast&left, b.unknown&left
	}
	if lost := all &^ left; lost != 0 {
		in.drop(stageStorm, DropStormControl, b.src, lost)
	}
}
