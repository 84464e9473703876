package hostport

import (
	"context"
	"net/netip"
	"slices"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/port"
	vswitch "vswitchd/switch"
	"vswitchd/uplink"
)

// Kind is the kind of port that host ports are.
type Kind struct{}

// Declaration implements port.Kind.
func (Kind) Declaration() *config.Kind { return Declaration }

// Reasons implements port.Kind.
func (Kind) Reasons() control.Reasons { return control.Reasons{Drops: []string{uplink.DropKernelRing}} }

// CheckMachine implements port.Kind.
func (Kind) CheckMachine(p *config.Port) (errs config.Errors) {
	s := of(p)
	for _, a := range s.Addresses {
		if a.Addr().Is6() && s.MTU < minMTU6 {
			errs = append(errs, p.Errorf("mtu", "is %d, must be at least %d for the IPv6 address %s", s.MTU, minMTU6, a))
			break
		}
	}
	if allowed := p.Guards.AllowedIPs; len(allowed) > 0 {
		for _, a := range s.Addresses {
			if !slices.ContainsFunc(allowed, func(p netip.Prefix) bool { return p.Contains(a.Addr()) }) {
				errs = append(errs, p.Errorf("allowed_ips", "the host could not use %s: it is not among them", a.Addr()))
			}
		}
	}
	return errs
}

// CheckPlace implements port.Kind: no other interface has the name of the port's or of its peer.
func (Kind) CheckPlace(p *config.Port) (errs config.Errors) {
	if _, err := find(p.Name); err != nil {
		errs = append(errs, p.Errorf("", "%v", err))
	}
	return errs
}

// HostAddresses implements port.Kind: the address of an interface that is taken over. One that is
// configured is pinned as such.
func (Kind) HostAddresses(p *config.Port) (macs []vswitch.MAC) {
	if len(p.MACs) > 0 {
		return nil
	}
	if v, err := find(p.Name); err == nil && v != nil {
		macs = append(macs, v.mac())
	}
	return macs
}

// Needs implements port.Kind: a packet socket, the pair of interfaces, and that IPv6 is off on one
// of them.
func (Kind) Needs(*config.Port) port.Needs {
	return port.Needs{Capabilities: []string{"CAP_NET_RAW", "CAP_NET_ADMIN"}, Edits: []string{ipv6Sysctls}}
}

// Start implements port.Kind.
func (Kind) Start(env port.Env) (port.Opener, error) { return &opener{env}, nil }

// An opener opens the host ports of a daemon.
type opener struct{ env port.Env }

// Open implements port.Opener.
func (o *opener) Open(_ context.Context, p *config.Port, c *vswitch.Counters) (port.Port, error) {
	return open(o.env, p, c)
}

// Changed implements port.Opener.
func (*opener) Changed() {}

// Limits implements port.Opener.
func (*opener) Limits() []control.Limit { return nil }

// Close implements port.Opener.
func (*opener) Close() {}
