package guest

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/port"
	"vswitchd/internal/rundir"
	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
)

// Kind is the kind of port that guests have. The zero value is what vswitchd uses.
type Kind struct {
	// Connector returns what front-ends come from; nil: Connect.
	Connector func(ctx context.Context, s *Settings) (vhostuser.Connector, error)

	// Unhurried has ports take front-ends however fast they come and fail.
	Unhurried bool
}

// Declaration implements port.Kind.
func (Kind) Declaration() *config.Kind { return Declaration }

// Reasons implements port.Kind.
func (Kind) Reasons() control.Reasons { return control.Reasons{Resets: resetNames()} }

// CheckMachine implements port.Kind.
func (Kind) CheckMachine(p *config.Port) (errs config.Errors) {
	s := of(p)
	_, err := netport.New(netport.Config{Queues: s.Queues, MTU: s.MTU, Logger: hclog.NewNullLogger()})
	if err != nil {
		errs = append(errs, p.Errorf("queues", "%v", err))
	}
	return errs
}

// CheckPlace implements port.Kind: it looks at the place of the socket.
func (Kind) CheckPlace(p *config.Port) (errs config.Errors) {
	if s := of(p); s.FD == 0 && s.Mode == ModeServer {
		if err := rundir.CheckSocket(s.Socket); err != nil {
			errs = append(errs, p.Errorf("socket", "%v", err))
		}
	}
	return errs
}

// HostAddresses implements port.Kind: there are none.
func (Kind) HostAddresses(*config.Port) []vswitch.MAC { return nil }

// Start implements port.Kind.
func (k Kind) Start(env port.Env) (port.Opener, error) {
	capacity, err := vhostuser.ProcessCapacity()
	if err != nil {
		return nil, err
	}
	env.Logger.Debug("limits of the process", "address-space", capacity.AddressSpace, "mappings", capacity.Mappings, "files", capacity.FileDescriptors)
	o := &opener{
		env:       env,
		share:     vhostuser.NewPool(capacity),
		connector: k.Connector,
		haste:     haste{first: FirstWait, longest: longestWait},
		blamed:    make(chan uintptr, 64),
		ports:     make(map[*Port]bool),
		quit:      make(chan struct{}),
		done:      make(chan struct{}),
	}
	if o.connector == nil {
		o.connector = Connect
	}
	if k.Unhurried {
		o.haste = haste{}
	}
	go o.charge()
	return o, nil
}

// of returns the settings of a guest's port.
func of(p *config.Port) *Settings { return p.Settings.(*Settings) }

// Connect opens what front-ends come from. It waits while another process is making the
// same socket, but not longer than until ctx is done.
func Connect(ctx context.Context, s *Settings) (vhostuser.Connector, error) {
	switch {
	case s.FD != 0:
		return vhostuser.Inherit(s.FD)
	case s.Mode == ModeClient:
		return &vhostuser.Dialer{Path: s.Socket}, nil
	}
	if err := rundir.Make(s.Socket); err != nil {
		return nil, err
	}
	a := s.Access
	return vhostuser.ListenContext(ctx, s.Socket,
		vhostuser.ListenOptions{Mode: a.Mode, Chown: a.UID >= 0 || a.GID >= 0, UID: a.UID, GID: a.GID})
}

// toldMAC is the address that a guest is told: that which is its own alone.
func toldMAC(p *config.Port) (mac vswitch.MAC) {
	if len(p.MACs) > 0 {
		mac = p.MACs[0]
	}
	return mac
}
