package capture

import (
	"bytes"
	"context"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	vswitch "vswitchd/switch"
)

// What happens to one real frame: the next one from a port that a filter selects.

// An Outcome is what has happened to a frame.
type Outcome struct {
	Frame []byte // as it came; without the rest, if that could not be read
	Steps []vswitch.TraceStep
}

// Next waits for a frame from a port that the filter, which may be nil, selects, and returns what
// has happened to it: where it was sent, in which form, and where and why it was dropped. It
// returns nil if no such frame came until ctx is done. Replies of the switch to the frame are not
// noticed. The bytes of frames are those before a port or the switch does what a sender has left to
// be done.
func Next(ctx context.Context, sw *vswitch.Switch, port string, filter *Filter) (*Outcome, error) {
	n := &next{port: port, filter: filter, found: make(chan struct{})}
	var removes []func()
	for _, cfg := range []vswitch.TapConfig{ // the last one finds the frame
		{AllPorts: true, In: true, Out: true, Drops: true}, {AllPorts: true, Out: true}, {Ports: []string{port}, In: true},
	} {
		remove, err := sw.AddTap(cfg, n)
		if err != nil {
			return nil, err
		}
		remove = sync.OnceFunc(remove)
		defer remove()
		removes = append(removes, remove)
	}
	select {
	case <-n.found:
	case <-ctx.Done():
	}
	for _, remove := range slices.Backward(removes) {
		remove() // when the first one returns, the batch of the frame is over
	}
	c := n.claim.Load()
	if c == nil {
		return nil, nil
	}
	return &c.Outcome, nil
}

// A next is the Tap of a Next.
type next struct {
	port   string
	filter *Filter
	found  chan struct{} // closed when there is a claim
	claim  atomic.Pointer[claim]
}

// A claim is the frame that was found. Only the goroutine that delivers the batch changes it.
type claim struct {
	batch vswitch.Batch
	bit   uint64 // of the frame in the batch
	Outcome
}

// Show implements vswitch.Tap.
func (n *next) Show(at vswitch.Place, frames []*vswitch.Frame, scratch *[vswitch.MaxFrameLen]byte) {
	c := n.claim.Load()
	switch {
	case c == nil && !at.Out && at.Drop == nil:
		n.look(at, frames, scratch)
	case c == nil || c.batch != at.Batch || c.bit&at.Set == 0 || !at.Out && at.Drop == nil:
	default:
		c.note(at, frames[bits.OnesCount64(at.Set&(c.bit-1))])
	}
}

// look claims the first frame that the filter selects.
func (n *next) look(at vswitch.Place, frames []*vswitch.Frame, scratch *[vswitch.MaxFrameLen]byte) {
	for i, f := range frames {
		if n.filter != nil {
			if selected, _ := n.filter.selects(f, scratch); !selected {
				continue
			}
		}
		c := &claim{batch: at.Batch, bit: 1 << i}
		c.Frame = copyOf(f)
		if n.claim.CompareAndSwap(nil, c) {
			close(n.found)
		}
		return
	}
}

// copyOf returns the bytes of a frame, as far as they can be read.
func copyOf(f *vswitch.Frame) []byte {
	b := make([]byte, f.Len)
	return bytes.Clone(b[:read(b, f)])
}

// note notes what has happened to the frame at a place.
func (c *claim) note(at vswitch.Place, f *vswitch.Frame) {
	step := vswitch.TraceStep{Stage: "transmit", Port: at.Port, Result: vswitch.TraceSend}
	switch {
	case at.Drop != nil:
		d := at.Drop
		step = vswitch.TraceStep{
			Stage: d.Stage, Port: at.Port, Result: vswitch.TraceDrop, Reason: d.Reason.String(), Filter: d.Filter, Rule: d.Rule,
		}
	default:
		if at.Copy {
			step.Stage, step.Result = "mirror", vswitch.TraceCopy
		}
		step.Frames = []vswitch.TraceFrame{{Bytes: copyOf(f), Offload: f.Offload}}
	}
	c.Steps = append(c.Steps, step)
}
