package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"golang.org/x/net/bpf"

	"vswitchd/internal/capture"
	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// Captures implements control.Backend.
func (b backend) Captures() (list []control.Capture) {
	for _, i := range b.d.capture.List() {
		list = append(list, captureInfo(&i))
	}
	return list
}

// Capture implements control.Backend.
func (b backend) Capture(r control.CaptureRequest) (control.CaptureStream, error) {
	filter, err := captureFilter(r.Filter)
	if err != nil {
		return nil, err
	}
	ports := r.Ports
	if r.All {
		for _, m := range b.d.snapshot() {
			ports = append(ports, m.cfg.Name)
		}
	}
	c, err := b.d.capture.Open(capture.Config{
		Select: vswitch.TapConfig{
			Ports: r.Ports, AllPorts: r.All, Drops: r.Drops, In: r.Direction != "out", Out: r.Direction != "in",
		},
		Ports: ports, Filter: filter, Text: r.FilterText,
		Snaplen: r.Snaplen, Count: r.Count, Duration: time.Duration(r.DurationMS) * time.Millisecond, Buffer: r.Buffer,
	})
	if errors.Is(err, vswitch.ErrNoPort) {
		return nil, control.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	s := captureStream{c, b.d.events}
	s.tell("started")
	return s, nil
}

// captureFilter checks a program. It returns nil if there is none.
func captureFilter(program [][4]uint32) (*capture.Filter, error) {
	if len(program) == 0 {
		return nil, nil
	}
	list := make([]bpf.RawInstruction, len(program))
	for i, p := range program {
		if p[0] > math.MaxUint16 || p[1] > math.MaxUint8 || p[2] > math.MaxUint8 {
			return nil, fmt.Errorf("%w: filter: instruction %d: a number is too large", control.ErrMalformed, i)
		}
		list[i] = bpf.RawInstruction{Op: uint16(p[0]), Jt: uint8(p[1]), Jf: uint8(p[2]), K: p[3]}
	}
	f, err := capture.NewFilter(list)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", control.ErrMalformed, err)
	}
	return f, nil
}

// StopCapture implements control.Backend.
func (b backend) StopCapture(id int) (control.Capture, error) {
	i, err := b.d.capture.Stop(id)
	if errors.Is(err, capture.ErrNoCapture) {
		return control.Capture{}, fmt.Errorf("%w: %d", control.ErrNoCapture, id)
	}
	return captureInfo(&i), err
}

// EndCaptures makes all captures end in order.
func (d *Daemon) EndCaptures() {
	for _, i := range d.capture.List() {
		_, _ = d.capture.Stop(i.ID) // it may have ended
	}
}

func captureInfo(i *capture.Info) control.Capture {
	c := control.Capture{
		ID: i.ID, Ports: i.Config.Select.Ports, All: i.Config.Select.AllPorts, Direction: "both", Drops: i.Config.Select.Drops,
		Snaplen: i.Config.Snaplen, Filter: i.Config.Text, Buffer: i.Config.Buffer, AgeS: int64(i.Age.Seconds()),
		Captured: i.Captured, Lost: i.Lost,
	}
	switch {
	case !i.Config.Select.Out:
		c.Direction = "in"
	case !i.Config.Select.In:
		c.Direction = "out"
	}
	return c
}

// A captureStream implements control.CaptureStream.
type captureStream struct {
	c      *capture.Capture
	events *eventSource
}

func (s captureStream) tell(event string) {
	s.events.publish(control.EventCapture, event, "", &control.CaptureEvent{Capture: s.Info()})
}

func (s captureStream) Info() control.Capture {
	i := s.c.Info()
	return captureInfo(&i)
}

func (s captureStream) Run(ctx context.Context, w io.Writer, flush func() error) error {
	defer s.tell("ended")
	return s.c.Run(ctx, w, flush)
}
