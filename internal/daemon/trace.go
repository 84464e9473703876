package daemon

import (
	"encoding/hex"
	"errors"

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
	for _, s := range t.Steps {
		step := control.TraceStep{
			Stage: s.Stage, Port: s.Port, Result: string(s.Result), Reason: s.Reason, Filter: s.Filter, Rule: s.Rule, Detail: s.Detail,
		}
		for _, f := range s.Frames {
			step.Frames = append(step.Frames, hex.EncodeToString(f.Bytes))
		}
		steps = append(steps, step)
	}
	return steps, nil
}
