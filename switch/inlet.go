package vswitch

// An Inlet is where frames from outside enter the switch: there is one for each transmit queue of a
// guest and for each socket of an uplink. It holds the scratch memory of Deliver.
type Inlet struct {
	epoch epoch

	sw       *Switch
	att      *Attachment
	counters *Counters // for frames that come when the port is detached
	repair   repairer
	mirrorer *mirrorer  // nil until a frame is mirrored
	filterer *filterer  // nil until a frame is filtered
	own      *ownFrames // nil until the switch itself sends a frame
	batch    batch
	memo     memo
	flooding bool
	loop     loopWatch
	report   [reportLen]byte // scratch memory of stage snoop
	tapper   *tapper         // nil until a frame is shown to a tap
}

// NewInlet makes an inlet for frames from this port. Close the inlet when it is no longer used.
func (a *Attachment) NewInlet() *Inlet {
	in := &Inlet{sw: a.sw, att: a, counters: a.Counters()}
	a.sw.mu.Lock()
	defer a.sw.mu.Unlock()
	a.sw.inlets[in] = struct{}{}
	return in
}

// Close removes the inlet from the switch. Deliver must not be running, nor be called again.
func (in *Inlet) Close() {
	in.sw.mu.Lock()
	defer in.sw.mu.Unlock()
	delete(in.sw.inlets, in)
}
