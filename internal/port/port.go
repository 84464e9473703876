// Package port says what a kind of port is to the daemon, which knows no kind: how ports of the
// kind are checked, opened, changed, shown and closed.
//
// Each kind is a package below this one, which declares the keys of its tables in the
// configuration. It is found by the name of these tables; package internal/daemon has the list of
// all kinds.
package port

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
)

// A Kind is a kind of port.
type Kind interface {
	// Declaration says what the kind's tables are called and which keys they have. It is always the
	// same.
	Declaration() *config.Kind

	// Reasons are the names that ports of the kind count drops and resets under, besides the
	// switch's.
	Reasons() control.Reasons

	// CheckMachine returns what keeps a port from being opened on this machine, whatever
	// other processes do. It opens nothing that another process could notice.
	CheckMachine(p *config.Port) config.Errors

	// CheckPlace is the same for what may be different the next moment: Open finds it out by
	// itself, as an error of the machine.
	CheckPlace(p *config.Port) config.Errors

	// HostAddresses returns the addresses that the host has at the port's place now, and that a
	// guest must not have in a VLAN of the port.
	HostAddresses(p *config.Port) []vswitch.MAC

	// Start makes what the ports of a daemon have in common.
	Start(env Env) (Opener, error)
}

// Env is what a daemon gives to its ports.
type Env struct {
	Logger  hclog.Logger
	Switch  *vswitch.Switch
	Workers *worker.Pool

	// Over is told by a port that no frame will ever pass again, and why if that is a failure.
	// It waits until the daemon runs, but not longer than ctx.
	Over func(ctx context.Context, p Port, failure error)
}

// An Opener opens ports of a kind for a daemon.
type Opener interface {
	// Open opens what a port needs: a socket, an interface. Nothing else changes before Port.Begin.
	// The port counts in c. Open gives up when ctx is done.
	Open(ctx context.Context, p *config.Port, c *vswitch.Counters) (Port, error)

	// Changed is called when ports have come, gone or changed.
	Changed()

	// Close is called when all ports are closed.
	Close()
}

// A Port is one port. Its methods may be called from any goroutine; Begin, Prepare, what
// Prepare has returned, and Close one after the other.
type Port interface {
	// Transmitter is what the switch sends frames by.
	Transmitter() vswitch.Port

	// Begin is called once, when the port has its place in the switch.
	Begin(a *vswitch.Attachment)

	// Prepare opens what the port needs to be will instead of was. It changes nothing that anybody
	// would notice and that Undo does not take back.
	Prepare(ctx context.Context, was, will *config.Port) (Change, error)

	// Describe adds what the kind knows of the port; what is configured for ports of all
	// kinds, and what the switch knows, is there. DescribeDetail does so for the rest of
	// a PortDetail.
	Describe(info *control.PortInfo)
	DescribeDetail(detail *control.PortDetail)

	// Close closes a port, also one that has not begun. The switch may have detached it.
	Close()
}

// A Change is a port's step to other settings. Either Apply or Undo is called, once.
type Change struct {
	Transmitter vswitch.Port // that the switch has by the time of Apply; nil: the same as before
	Apply       func()       // cannot fail
	Undo        func()       // nil: there is nothing to undo
}

// What a source delivers in one batch is one batch of the switch.
var _ = [1]struct{}{}[vswitch.MaxBatch-worker.MaxBatch]
