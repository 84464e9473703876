// Package port defines the interface between the daemon and the kinds of port: how ports of a kind
// are checked, opened, changed, shown and closed. The daemon depends on this interface only, not on
// any kind.
//
// Each kind is a package below this one and declares the keys of its tables in the configuration. A
// kind is identified by the name in its declaration; package internal/daemon has the list of all
// kinds.
package port

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/handover"
	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
)

// A Kind is a kind of port.
type Kind interface {
	// Declaration returns the names of the kind's tables and their keys. Every call returns the
	// same value.
	Declaration() *config.Kind

	// Reasons returns the names under which ports of the kind count drops and resets, in addition
	// to the switch's drop reasons.
	Reasons() control.Reasons

	// CheckMachine returns the reasons why a port cannot be opened on this machine, independently
	// of other processes. It opens nothing that is visible to another process.
	CheckMachine(p *config.Port) config.Errors

	// CheckPlace is like CheckMachine for conditions that can change at any time, such as a missing
	// directory. Open reports these conditions itself, as errors of the machine.
	CheckPlace(p *config.Port) config.Errors

	// HostAddresses returns the addresses that the host currently has on the port's interface. No
	// guest may have one of them in a VLAN of the port.
	HostAddresses(p *config.Port) []vswitch.MAC

	// Needs returns what a port needs while it exists. For nil it returns what any port of the kind
	// may need that a configuration without such ports does not tell.
	Needs(p *config.Port) Needs

	// Start creates the state that all ports of the kind in one daemon share.
	Start(env Env) (Opener, error)
}

// Env is what a daemon provides to its ports.
type Env struct {
	Logger  hclog.Logger
	Switch  *vswitch.Switch
	Workers *worker.Pool

	// Over is called by a port that will never pass a frame again. failure is the cause, nil if the
	// port ended normally. Over blocks until the daemon's Run receives the report or ctx is done.
	Over func(ctx context.Context, p Port, failure error)

	// Report is called by a port, whose name is given, with an event of kind session for those who
	// listen. Report does not wait for them, but calls Describe: the caller holds no lock.
	Report func(port, event string, detail *control.SessionEvent)
}

// An Opener opens ports of a kind for a daemon.
type Opener interface {
	// Open opens the socket or interface that a port needs. Nothing else changes before Port.Begin.
	// The port counts in c. Open returns an error when ctx is done.
	Open(ctx context.Context, p *config.Port, c *vswitch.Counters) (Port, error)

	// Changed is called after ports were added, removed or changed.
	Changed()

	// Limits returns the use of resources that all ports of the kind share; nil: there are none.
	Limits() []control.Limit

	// Close is called after all ports have been closed.
	Close()
}

// A Port is one port. Its methods may be called from any goroutine. Calls of Begin, Prepare, the
// functions of the Change that Prepare returned, and Close must not overlap.
type Port interface {
	// Transmitter returns the port by which the switch transmits frames.
	Transmitter() vswitch.Port

	// Begin is called once, after the port has been attached to the switch.
	Begin(a *vswitch.Attachment)

	// Prepare opens what the port needs to change from the configuration was to will. Every
	// externally visible change that Prepare makes is reverted by Undo.
	Prepare(ctx context.Context, was, will *config.Port) (Change, error)

	// Count fills in the state, and the figures that only the kind knows. The caller has already
	// filled in those of the switch.
	Count(stats *control.PortStats)

	// Describe fills in the fields that only the kind knows. The caller has already filled in the
	// settings common to all kinds, and what Count says. DescribeDetail does the same for the
	// fields that PortDetail adds.
	Describe(info *control.PortInfo)
	DescribeDetail(detail *control.PortDetail)

	// Close closes a port, including one for which Begin was not called. The switch may have
	// detached the port already.
	Close()
}

// A Mover is a port that can be handed over to another process, whose Opener is an Adopter. It is
// separate from Port because not all kinds can be handed over.
type Mover interface {
	Port

	// Movable returns the reason why the port cannot be handed over, or nil.
	Movable() error

	// Freeze stops everything that the port does by itself until thaw is called, and returns the
	// state of the port, as a value for JSON. It waits for others only as long as wait says. The
	// workers rest: see worker.Pool.Rest. Any other method of the port may wait until thaw.
	Freeze(w *handover.Writer, wait time.Duration) (state any, thaw func(), err error)

	// Resume is called once for a port that was adopted, when Begin was called for all ports. It
	// returns a channel that is closed when the port has begun all that it had been doing in the
	// other process.
	Resume() <-chan struct{}
}

// Ready is what Mover.Resume returns for ports that have nothing left to do.
var Ready = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// An Adopter is an Opener that opens ports from another process.
type Adopter interface {
	// Adopt is Open for a port that Mover.Freeze has described. It touches nothing that the other
	// process could notice, and neither does Port.Close as long as Port.Begin was not called.
	Adopt(p *config.Port, c *vswitch.Counters, state json.RawMessage, r *handover.Reader) (Port, error)
}

// A Change is a prepared change of a port's settings. Exactly one of Apply and Undo is called,
// once.
type Change struct {
	Transmitter vswitch.Port // the switch uses it from before Apply on; nil: the transmitter is unchanged
	Apply       func()       // cannot fail
	Undo        func()       // nil: there is nothing to undo
}

// The batch sizes of the workers and of the switch must be equal: a batch that a source delivers is
// forwarded as one batch. The array index below fails to compile otherwise.
var _ = [1]struct{}{}[vswitch.MaxBatch-worker.MaxBatch]
