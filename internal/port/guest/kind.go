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

// Kind is the port kind for guests. vswitchd uses the zero value.
type Kind struct {
	// Connector returns the source of front-end connections; nil: Connect.
	Connector func(ctx context.Context, s *Settings) (vhostuser.Connector, error)

	// NoBackoff disables the delay after short sessions (see backoff), for tests.
	NoBackoff bool
}

// maxHold is the most memory, in bytes, that frames for guests without receive buffers may occupy.
const maxHold = 64 << 20

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

// CheckPlace implements port.Kind: it checks the path of the socket in server mode.
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
	env.Logger.Debug("limits of the process", "address_space", capacity.AddressSpace, "mappings", capacity.Mappings, "files", capacity.FileDescriptors)
	o := &opener{
		env:       env,
		share:     vhostuser.NewPool(capacity),
		hold:      netport.NewHoldMemory(maxHold),
		connector: k.Connector,
		backoff:   backoff{first: FirstWait, longest: longestWait},
		faults:    make(chan uintptr, 64),
		ports:     make(map[*Port]bool),
		quit:      make(chan struct{}),
		done:      make(chan struct{}),
	}
	if o.connector == nil {
		o.connector = Connect
	}
	if k.NoBackoff {
		o.backoff = backoff{}
	}
	go o.handleFaults()
	return o, nil
}

// of returns the settings of a guest's port.
func of(p *config.Port) *Settings { return p.Settings.(*Settings) }

// Connect opens the source of front-end connections: an inherited descriptor, a dialer in client
// mode, or a listening socket. It waits while another process is creating the same socket, until
// ctx is done.
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

// guestMAC is the address that the device reports to the guest: the configured one, which no other
// station may use. It is zero if none is configured.
func guestMAC(p *config.Port) (mac vswitch.MAC) {
	if len(p.MACs) > 0 {
		mac = p.MACs[0]
	}
	return mac
}
