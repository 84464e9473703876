package uplinkport

import (
	"context"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/port"
	"vswitchd/internal/port/packetport"
	vswitch "vswitchd/switch"
	"vswitchd/uplink"
)

// Kind is the port kind for uplinks.
type Kind struct{}

// Declaration implements port.Kind.
func (Kind) Declaration() *config.Kind { return Declaration }

// Reasons implements port.Kind.
func (Kind) Reasons() control.Reasons { return control.Reasons{Drops: []string{uplink.DropKernelRing}} }

// CheckMachine implements port.Kind.
func (Kind) CheckMachine(p *config.Port) (errs config.Errors) {
	name := of(p).Interface
	if name == "" { // reported as missing or bad
		return nil
	}
	if err := uplink.Check(name); err != nil {
		errs = append(errs, p.Errorf("interface", "%v", err))
	}
	return errs
}

// CheckPlace implements port.Kind. An uplink waits for an interface that is missing or in use, so
// there is nothing to check.
func (Kind) CheckPlace(*config.Port) config.Errors { return nil }

// HostAddresses implements port.Kind: the interface's own address.
func (Kind) HostAddresses(p *config.Port) []vswitch.MAC { return uplink.Own(of(p).Interface) }

// Needs implements port.Kind: a packet socket, and the offloads of the interface.
func (Kind) Needs(*config.Port) port.Needs {
	return port.Needs{Capabilities: []string{"CAP_NET_RAW", "CAP_NET_ADMIN"}}
}

// Start implements port.Kind.
func (Kind) Start(env port.Env) (port.Opener, error) { return &opener{env: env}, nil }

// An opener opens the uplinks of a daemon.
type opener struct {
	env  port.Env
	nics uplink.Interfaces // assigns interfaces to uplinks
}

// Open implements port.Opener.
func (o *opener) Open(_ context.Context, p *config.Port, c *vswitch.Counters) (port.Port, error) {
	u := o.newPort(p, c)
	var err error
	if u.up, err = u.open(p); err != nil {
		return nil, err
	}
	return u, nil
}

// newPort makes a port without an uplink.
func (o *opener) newPort(p *config.Port, c *vswitch.Counters) *Port {
	return &Port{
		base: packetport.Base{Env: o.env, Log: port.NewLog(o.env.Logger, p.Name)},
		nics: &o.nics, cfg: p, counters: c,
	}
}

// Changed implements port.Opener.
func (*opener) Changed() {}

// Limits implements port.Opener.
func (*opener) Limits() []control.Limit { return nil }

// Close implements port.Opener.
func (*opener) Close() {}
