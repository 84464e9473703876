package daemon

import (
	"context"
	"encoding/hex"
	"errors"

	"vswitchd/internal/capture"
	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// Trace implements control.Backend.
func (b backend) Trace(port string, frame []byte) (steps []control.TraceStep, err error) {
	n := min(len(frame), vswitch.HeadLen) // as ports deliver it
	f := vswitch.Frame{Head: frame[:n], Body: [][]byte{frame[n:]}, Len: len(frame)}
	t, err := b.d.sw.Trace(port, f)
	if errors.Is(err, vswitch.ErrNoPort) {
		return nil, control.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return traceSteps(t.Steps), nil
}

// Next implements control.Backend.
func (b backend) Next(ctx context.Context, port string, program [][4]uint32) ([]byte, []control.TraceStep, error) {
	filter, err := captureFilter(program)
	if err != nil {
		return nil, nil, err
	}
	o, err := capture.Next(ctx, b.d.sw, port, filter)
	switch {
	case errors.Is(err, vswitch.ErrNoPort):
		return nil, nil, control.ErrNotFound
	case err != nil || o == nil:
		return nil, nil, err
	}
	return o.Frame, traceSteps(o.Steps), nil
}

func traceSteps(list []vswitch.TraceStep) (steps []control.TraceStep) {
	for _, s := range list {
		step := control.TraceStep{
			Stage: s.Stage, Port: s.Port, Result: string(s.Result), Reason: s.Reason, Filter: s.Filter, Rule: s.Rule, Detail: s.Detail,
		}
		for _, f := range s.Frames {
			step.Frames = append(step.Frames, hex.EncodeToString(f.Bytes))
		}
		steps = append(steps, step)
	}
	return steps
}
