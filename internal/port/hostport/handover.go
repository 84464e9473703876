package hostport

import (
	"encoding/json"
	"fmt"
	"time"

	"vswitchd/internal/config"
	"vswitchd/internal/handover"
	"vswitchd/internal/port"
	"vswitchd/internal/port/packetport"
	vswitch "vswitchd/switch"
	"vswitchd/uplink"
)

// This file hands host ports over to another process, and takes them over. The interface stays as
// it is.

// A portState is the state of a port in the documents of a hand-over.
type portState struct {
	Uplink uplink.Saved `json:"uplink"`
	Lock   int          `json:"lock"` // file; -1: another user has it
}

var (
	_ port.Adopter = (*opener)(nil)
	_ port.Mover   = (*Port)(nil)
)

// Movable implements port.Mover.
func (p *Port) Movable() error { return nil }

// Freeze implements port.Mover.
func (p *Port) Freeze(w *handover.Writer, _ time.Duration) (state any, thaw func(), err error) {
	saved, thaw := packetport.Freeze(p.up, w)
	return portState{saved, w.File(p.lock.fd)}, thaw, nil
}

// Resume implements port.Mover.
func (p *Port) Resume() <-chan struct{} { return port.Ready }

// Adopt implements port.Adopter.
func (o *opener) Adopt(cfg *config.Port, c *vswitch.Counters, state json.RawMessage, r *handover.Reader) (port.Port, error) {
	var st portState
	if err := json.Unmarshal(state, &st); err != nil {
		return nil, fmt.Errorf("%w: %w", handover.ErrNotUnderstood, err)
	}
	fd, err := r.Take(st.Lock)
	if err != nil {
		return nil, err
	}
	p := newPort(o.env, cfg)
	p.lock = &lock{fd}
	if p.up, err = p.base.Adopt(uplinkConfig(cfg, c), &st.Uplink, r); err != nil {
		p.lock.release()
		return nil, err
	}
	return p, nil
}
