package vswitchtest

import (
	"fmt"
	"slices"
	"sync"

	vswitch "vswitchd/switch"
)

// Sent is a frame that was transmitted to a Recorder.
type Sent struct {
	Bytes   []byte // Head and Body together
	Offload vswitch.Offload
}

// A Recorder is a Port that keeps copies of all frames. The zero value accepts no offloads, and has
// no MTU and no counters.
type Recorder struct {
	Counters *vswitch.Counters // counts TxFrames and TxBytes, if not nil

	mu      sync.Mutex
	caps    vswitch.Caps
	sent    []Sent
	batches int
}

// SetCaps sets what Caps returns.
func (r *Recorder) SetCaps(c vswitch.Caps) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caps = c
}

// Caps implements vswitch.Port.
func (r *Recorder) Caps() vswitch.Caps {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.caps
}

// Transmit implements vswitch.Port.
func (r *Recorder) Transmit(frames []*vswitch.Frame) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, f := range frames {
		b := Bytes(f)
		n += len(b)
		r.sent = append(r.sent, Sent{Bytes: b, Offload: f.Offload})
	}
	r.batches++
	if r.Counters != nil {
		r.Counters.TxFrames.Add(uint64(len(frames)))
		r.Counters.TxBytes.Add(uint64(n))
	}
	return len(frames)
}

// Take returns the frames of all calls of Transmit since the last Take, in order.
func (r *Recorder) Take() []Sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sent
	r.sent = nil
	return s
}

// Batches returns the number of calls of Transmit.
func (r *Recorder) Batches() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.batches
}

// A Sink is a Port that accepts all frames, and counts them in Counters, which is not nil, as a
// real port does.
type Sink struct {
	Counters *vswitch.Counters
	Takes    vswitch.Caps
}

// Caps implements vswitch.Port.
func (s *Sink) Caps() vswitch.Caps { return s.Takes }

// Transmit implements vswitch.Port.
func (s *Sink) Transmit(frames []*vswitch.Frame) int {
	n := 0
	for _, f := range frames {
		n += f.Len
	}
	s.Counters.TxFrames.Add(uint64(len(frames)))
	s.Counters.TxBytes.Add(uint64(n))
	return len(frames)
}

// Transmit passes copies of frames to a port's Transmit as the switch does: frames that the port
// refuses are counted as dropped in c. It returns the number of frames that the port has accepted,
// and for each frame the reason for which the port has refused it, or "". It panics if that number
// is not the number of frames that are not refused.
func Transmit(transmit func([]*vswitch.Frame) int, c *vswitch.Counters, frames ...*vswitch.Frame) (sent int, refusals []string) {
	copies := make([]vswitch.Frame, len(frames))
	batch := make([]*vswitch.Frame, len(frames))
	for i, f := range frames {
		copies[i] = *f
		batch[i] = &copies[i]
	}
	sent = transmit(batch)
	refusals = make([]string, len(frames))
	refused := 0
	for i, f := range batch {
		if why, ok := f.Refusal(); ok {
			refusals[i] = why.String()
			c.Drop(why, 1)
			refused++
		}
	}
	if sent+refused != len(frames) {
		panic(fmt.Sprintf("a port has accepted %d frames and refused %d, of %d", sent, refused, len(frames)))
	}
	return sent, refusals
}

// Bytes returns a copy of the whole frame.
func Bytes(f *vswitch.Frame) []byte {
	return slices.Concat(append([][]byte{f.Head}, f.Body...)...)
}
