package netport

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
)

// MaxQueues is the largest number of queue pairs of a port (Linux's vhost-user front-ends have
// the same limit).
const MaxQueues = 128

// ErrFault is the reason for the end of a session whose front-end took its memory away.
var ErrFault = errors.New("guest memory vanished")

// Config describes a Port. The functions are called on the control path, except ForeignFault.
type Config struct {
	Queues   int                // queue pairs offered, 1 to MaxQueues
	MTU      int                // largest MTU for the guest, in bytes; 0: none is set
	MAC      vswitch.MAC        // address for the guest, see Port.SetMAC; zero: none
	Switch   *vswitch.Switch    // where the port is attached; nil: see Port.Join
	Port     vswitch.PortConfig // the attached port's; Name and Counters are used here, too
	Offloads uint64             // see Port.SetOffloads
	Logger   hclog.Logger

	// Start adds a source to the data plane. Stop removes it: when Stop returns, no goroutine
	// is in the source's methods.
	Start func(worker.Source) error
	Stop  func(worker.Source)

	// QueueLen is the number of frames that each receiveq holds when the guest has no receive
	// buffers left; see Port.SetQueueLen. If it is not to be 0 for ever, the two fields below are
	// needed. StartResident adds a source that seldom has work, and returns what makes a worker
	// poll the source; Stop removes it.
	QueueLen      int
	HoldMemory    *HoldMemory
	StartResident func(worker.Source) (wake func(), err error)

	// ForeignFault is called for a fault at an address in another port's memory. It is called
	// from the data plane and must not wait.
	ForeignFault func(addr uintptr)
}

// A Port is a guest's network device. It exists as long as the guest is configured, whether or not
// the guest is connected.
type Port struct {
	cfg        Config
	log        hclog.Logger
	counters   *vswitch.Counters
	attachment *vswitch.Attachment

	tx []*txQueue
	rx []*rxQueue

	// receivers are the receiveqs that are running and enabled, as used by Transmit.
	receivers atomic.Pointer[[]*rxQueue]
	caps      atomic.Pointer[vswitch.Caps]
	filter    atomic.Pointer[rxFilter] // nil: the guest receives all frames
	session   atomic.Pointer[vhostuser.Session]
	failed    atomic.Bool   // the session has been asked to end
	offloads  atomic.Uint64 // features to be offered to the next front-end ...
	offered   uint64        // ... and those offered to the connected one
	features  uint64        // negotiated
	mtu       atomic.Int64  // from the front-end; 0: none
	queueLen  atomic.Int64  // see SetQueueLen
	hold      holdAccount
	space     configSpace

	// mu is taken on the control path only. It guards next, control, and changes of receivers,
	// filter, tx and rx.
	mu      sync.Mutex
	next    offer
	control control
	pace    pace // used by the control queue's goroutine
}

// An offer is the largest configuration that a front-end can get.
type offer struct{ queues, mtu int }

// New makes a port and attaches it to the switch. The port is down until a guest's driver runs.
func New(cfg Config) (*Port, error) {
	if cfg.Queues < 1 || cfg.Queues > MaxQueues {
		return nil, fmt.Errorf("port %s: %d queue pairs, must be 1 to %d", cfg.Port.Name, cfg.Queues, MaxQueues)
	}
	if cfg.Port.Counters == nil {
		cfg.Port.Counters = &vswitch.Counters{}
	}
	p := &Port{cfg: cfg, log: cfg.Logger, counters: cfg.Port.Counters}
	p.SetOffloads(cfg.Offloads)
	p.SetQueueLen(cfg.QueueLen)
	p.hold.mem = cfg.HoldMemory
	p.offered = p.offloads.Load()
	p.caps.Store(&vswitch.Caps{})
	p.receivers.Store(&[]*rxQueue{})
	p.space.mac = cfg.MAC
	p.space.begin(cfg.Queues, cfg.MTU)
	p.next = offer{cfg.Queues, cfg.MTU}
	p.addQueues()
	p.control.queue, p.control.index = newControlQueue(p), -1
	if cfg.Switch == nil {
		return p, nil
	}
	a, err := cfg.Switch.Attach(cfg.Port, p)
	if err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Port.Name, err)
	}
	p.Join(a)
	return p, nil
}

// addQueues makes the queues that Config.Queues asks for and that do not exist yet. The caller
// holds mu, or p is not yet shared.
func (p *Port) addQueues() {
	for i := len(p.rx); i < p.cfg.Queues; i++ {
		p.rx = append(p.rx, &rxQueue{port: p, index: 2 * i})
		p.tx = append(p.tx, &txQueue{port: p, index: 2*i + 1, kick: -1})
	}
}

// Join gives the port its attachment to the switch, if New has not made one. It has to be called
// once, before the first session.
func (p *Port) Join(a *vswitch.Attachment) { p.attachment = a }

// SetOffer changes Config.Queues and Config.MTU for front-ends that connect from now on; see Renew.
// It may be called at any time.
func (p *Port) SetOffer(queues, mtu int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = offer{queues, mtu}
}

// Renew has to be called before vhostuser.Serve: it makes the last SetOffer take effect.
func (p *Port) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg.Queues, p.cfg.MTU = p.next.queues, p.next.mtu
	p.addQueues()
}

// queues returns the queues of both directions.
func (p *Port) queues() (rx []*rxQueue, tx []*txQueue) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rx, p.tx
}

// Close detaches the port from the switch. Its session must have ended.
func (p *Port) Close() { p.attachment.Detach() }

// Attachment returns the port's attachment to the switch.
func (p *Port) Attachment() *vswitch.Attachment { return p.attachment }

// HandleFault reports whether addr, at which an access to a frame has faulted, is in the memory of
// the port's guest. If so, the port's session ends, unless addr is in an absent huge page, which is
// then provided. HandleFault may be called from any goroutine and does not wait.
func (p *Port) HandleFault(addr uintptr) bool {
	s := p.session.Load()
	if s == nil || !s.Contains(addr) {
		return false
	}
	if !s.Absent(addr) {
		p.fail(fmt.Errorf("%w (address %#x)", ErrFault, addr))
	}
	return true
}

// handleRingFault is HandleFault for an access to a ring. The session ends in any case, because it
// is not known how much of the access was done.
func (p *Port) handleRingFault(addr uintptr) bool {
	s := p.session.Load()
	if s == nil || !s.Contains(addr) {
		return false
	}
	p.fail(fmt.Errorf("%w (address %#x)", ErrFault, addr))
	return true
}

// fail ends the session, from the data plane. From then on the queues are not processed.
func (p *Port) fail(err error) {
	if p.failed.CompareAndSwap(false, true) {
		if s := p.session.Load(); s != nil {
			s.Fail(err)
		}
	}
}

// Receiving returns the number of queues on which the guest's driver receives. 0: no driver runs.
func (p *Port) Receiving() int { return len(*p.receivers.Load()) }

// State returns the state of the connected front-end, or the zero value if there is none.
func (p *Port) State() vhostuser.State {
	s := p.session.Load()
	if s == nil {
		return vhostuser.State{}
	}
	return s.Snapshot()
}

// Notifications returns the numbers of kicks by the guest and of signals to the guest over
// the port's life.
func (p *Port) Notifications() (kicks, calls uint64) {
	rx, tx := p.queues()
	for i := range rx {
		calls += rx[i].totalCalls()
		k, c := tx[i].totals()
		kicks += k
		calls += c
	}
	return kicks, calls
}
