package uplinkport

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

// This file hands uplinks over to another process, and takes them over.

// A portState is the state of a port in the documents of a hand-over.
type portState struct {
	Uplink uplink.Saved `json:"uplink"`
	Drops  uint64       `json:"drops"` // frames that the kernel dropped at previous uplinks
}

var (
	_ port.Adopter = (*opener)(nil)
	_ port.Mover   = (*Port)(nil)
)

// Movable implements port.Mover.
func (p *Port) Movable() error { return nil }

// Freeze implements port.Mover.
func (p *Port) Freeze(w *handover.Writer, _ time.Duration) (state any, thaw func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	saved, thaw := packetport.Freeze(p.up, w)
	return portState{saved, p.drops}, thaw, nil
}

// Resume implements port.Mover. The addresses that the uplink has are those that it needs, until
// all ports have begun: host ports add theirs to the FDB when they begin.
func (p *Port) Resume() <-chan struct{} {
	p.startFeed()
	return port.Ready
}

// Adopt implements port.Adopter.
func (o *opener) Adopt(cfg *config.Port, c *vswitch.Counters, state json.RawMessage, r *handover.Reader) (port.Port, error) {
	var st portState
	if err := json.Unmarshal(state, &st); err != nil {
		return nil, fmt.Errorf("%w: %w", handover.ErrNotUnderstood, err)
	}
	p := o.newPort(cfg, c)
	p.drops, p.adopted = st.Drops, true
	var err error
	if p.up, err = p.base.Adopt(p.config(cfg), &st.Uplink, r); err != nil {
		return nil, err
	}
	return p, nil
}
