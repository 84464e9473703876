package vswitch

import (
	"errors"
	"fmt"
	"slices"
)

// Taps: where the frames of some ports are shown, for captures. This file has their configuration;
// stage_tap.go calls them.
//
// Locking: Switch.mu guards Switch.taps. What the data plane reads, a tapping, is immutable and
// belongs to a portView.

// MaxTaps is the most taps of a switch.
const MaxTaps = 32

// ErrTooManyTaps says that a switch has MaxTaps taps already.
var ErrTooManyTaps = errors.New("too many captures")

// A Tap is shown frames. Its method is called by several goroutines at once, inside Deliver. It
// must not wait, it must not keep or change anything that it is shown, and it must not call the
// switch. Body may be in memory of a guest that vanishes while the Tap reads: the Tap recovers from
// the fault, which is a panic then.
type Tap interface {
	// Show shows frames of one batch that have passed a place, in order. Head has the tags that the
	// frames have there. scratch is memory that the Tap may use until it returns.
	Show(at Place, frames []*Frame, scratch *[MaxFrameLen]byte)
}

// A Place is where frames are shown.
type Place struct {
	Port string // the port that the frames came from, went to, or are dropped at
	Out  bool   // they went to the port, or would have gone there
	Drop *Drop  // why they are dropped; nil: they are not

	// Batch and Set say which frames they are: bit i of Set stands for the i-th frame of the batch.
	// Frames that are shown at several places have the same bit. Replies have none.
	Batch Batch
	Set   uint64

	Copy  bool // they are copies that a mirror has made
	Reply bool // they are replies of the switch to frames that came from the port
}

// A Batch identifies a batch among those that a Tap is shown.
type Batch struct {
	in *Inlet
	n  uint32
}

// A Drop says why frames are dropped.
type Drop struct {
	Reason DropReason
	Stage  string // of the pipeline
	From   string // the port that the frames came from; "": the switch itself
	Filter string // the filter that drops them, and the rule; "": no filter
	Rule   string
}

// A TapConfig says which frames a Tap is shown. The zero value selects none.
type TapConfig struct {
	Ports []string // names; with AllPorts: none
	// AllPorts selects all ports, those that are added later included.
	AllPorts bool

	In    bool // frames that come from the ports, or are dropped on the way in
	Out   bool // frames that the ports have accepted, or that are dropped on the way to them
	Drops bool // frames that are dropped, instead of those that are not
}

// selects reports whether the frames of a port are shown.
func (c *TapConfig) selects(port string) bool { return c.AllPorts || slices.Contains(c.Ports, port) }

// A tapEntry is a Tap of a switch. Its address identifies it.
type tapEntry struct {
	cfg TapConfig
	tap Tap
}

// AddTap shows t the frames that cfg selects, until remove is called. When remove returns, the Tap
// is not being called, and will not be called again. The ports must exist; a port that is removed
// and added again under its name is shown again.
//
// remove waits for every Deliver that is running; see Attachment.Detach.
func (s *Switch) AddTap(cfg TapConfig, t Tap) (remove func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range cfg.Ports {
		if _, err := s.port(name); err != nil {
			return nil, err
		}
	}
	if len(s.taps) == MaxTaps {
		return nil, fmt.Errorf("%w: there are %d, which is the most", ErrTooManyTaps, MaxTaps)
	}
	cfg.Ports = slices.Clone(cfg.Ports)
	e := &tapEntry{cfg, t}
	s.taps = append(s.taps, e)
	s.publish()
	return func() { s.removeTap(e) }, nil
}

func (s *Switch) removeTap(e *tapEntry) {
	s.mu.Lock()
	s.taps = slices.DeleteFunc(s.taps, func(o *tapEntry) bool { return o == e })
	s.publish()
	s.mu.Unlock()
	s.synchronize()
}

// A tapping is the taps that are shown the frames of one port.
type tapping struct{ in, out, dropsIn, dropsOut []Tap }

// tappingOf finds the taps of the port with a name. nil: there are none.
func tappingOf(taps []*tapEntry, name string) *tapping {
	var t tapping
	for _, e := range taps {
		if !e.cfg.selects(name) {
			continue
		}
		in, out := &t.in, &t.out
		if e.cfg.Drops {
			in, out = &t.dropsIn, &t.dropsOut
		}
		if e.cfg.In {
			*in = append(*in, e.tap)
		}
		if e.cfg.Out {
			*out = append(*out, e.tap)
		}
	}
	if len(t.in)+len(t.out)+len(t.dropsIn)+len(t.dropsOut) == 0 {
		return nil
	}
	return &t
}

// equal reports whether t and u, each of which may be nil, are the same taps.
func (t *tapping) equal(u *tapping) bool {
	if t == nil || u == nil {
		return t == u
	}
	return slices.Equal(t.in, u.in) && slices.Equal(t.out, u.out) &&
		slices.Equal(t.dropsIn, u.dropsIn) && slices.Equal(t.dropsOut, u.dropsOut)
}
