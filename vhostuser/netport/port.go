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

// MaxQueues is how many queue pairs a port has at most (the limit of Linux's
// vhost-user front-ends is the same).
const MaxQueues = 128

// ErrFault is why a session ends whose front-end took its memory away.
var ErrFault = errors.New("guest memory vanished")

// Config says what a Port is. The functions are called on the control path, but
// for Blame.
type Config struct {
	Queues   int                // queue pairs offered, 1 to MaxQueues
	MTU      int                // largest MTU that the guest may be told, in bytes; 0: it is told none
	MAC      vswitch.MAC        // the address that the guest is told, see Port.SetMAC; zero: none
	Switch   *vswitch.Switch    // where the port is attached; nil: see Port.Join
	Port     vswitch.PortConfig // as what; its Name and Counters are the port's
	Offloads uint64             // see Port.SetOffloads
	Logger   hclog.Logger

	// Start gives a source to the data plane. Stop takes it back: when it
	// returns, nobody is in its methods.
	Start func(worker.Source) error
	Stop  func(worker.Source)

	// Blame is told of a fault at an address in another port's memory. It is
	// called from the data plane and must not wait.
	Blame func(addr uintptr)
}

// A Port is a guest's network device: one for each guest that may come, for as long
// as it may.
type Port struct {
	cfg        Config
	log        hclog.Logger
	counters   *vswitch.Counters
	attachment *vswitch.Attachment

	tx []*txQueue
	rx []*rxQueue

	// receivers are the receiveqs that are running and enabled, for Transmit.
	receivers atomic.Pointer[[]*rxQueue]
	caps      atomic.Pointer[vswitch.Caps]
	filter    atomic.Pointer[rxFilter] // nil: the guest receives all frames
	session   atomic.Pointer[vhostuser.Session]
	failed    atomic.Bool   // the session has been told to end
	offloads  atomic.Uint64 // features to be offered to the next front-end ...
	offered   uint64        // ... and to the one that there is
	features  uint64        // negotiated
	mtu       atomic.Int64  // as the front-end told it
	space     configSpace

	mu      sync.Mutex // of the control path: receivers, filter, control, Close, next, and changes of tx and rx
	next    offer
	control control
	pace    pace // of the control queue's goroutine
}

// An offer is what a front-end can get at most.
type offer struct{ queues, mtu int }

// New makes a port and attaches it to the switch. It is down until a guest's driver
// runs.
func New(cfg Config) (*Port, error) {
	if cfg.Queues < 1 || cfg.Queues > MaxQueues {
		return nil, fmt.Errorf("port %s: %d queue pairs, must be 1 to %d", cfg.Port.Name, cfg.Queues, MaxQueues)
	}
	if cfg.Port.Counters == nil {
		cfg.Port.Counters = &vswitch.Counters{}
	}
	p := &Port{cfg: cfg, log: cfg.Logger, counters: cfg.Port.Counters}
	p.SetOffloads(cfg.Offloads)
	p.offered = p.offloads.Load()
	p.caps.Store(&vswitch.Caps{})
	p.receivers.Store(&[]*rxQueue{})
	p.space.mac = cfg.MAC
	p.space.begin(cfg.Queues, cfg.MTU)
	p.next = offer{cfg.Queues, cfg.MTU}
	p.grow()
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

// grow makes the queues that Config.Queues asks for and that are not there yet. mu is held, or p is
// not yet shared.
func (p *Port) grow() {
	for i := len(p.rx); i < p.cfg.Queues; i++ {
		p.rx = append(p.rx, &rxQueue{port: p, index: 2 * i})
		p.tx = append(p.tx, &txQueue{port: p, index: 2*i + 1, kick: -1})
	}
}

// Join tells the port its place in the switch, where New was not to make one. It is called once,
// before the first session.
func (p *Port) Join(a *vswitch.Attachment) { p.attachment = a }

// SetOffer changes Config.Queues and Config.MTU for front-ends that connect from now on; see Renew.
// It may be called at any time.
func (p *Port) SetOffer(queues, mtu int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = offer{queues, mtu}
}

// Renew is to be called before vhostuser.Serve: the port offers what SetOffer has said last.
func (p *Port) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg.Queues, p.cfg.MTU = p.next.queues, p.next.mtu
	p.grow()
}

// queues returns the queues of both directions.
func (p *Port) queues() (rx []*rxQueue, tx []*txQueue) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rx, p.tx
}

// Close detaches the port from the switch. Its session must have ended.
func (p *Port) Close() { p.attachment.Detach() }

// Attachment returns the port's place in the switch.
func (p *Port) Attachment() *vswitch.Attachment { return p.attachment }

// Blame reports whether addr, at which an access to a frame has faulted, is in the port's guest's
// memory. If so, and if the memory is not just a huge page that is absent (which is provided then),
// the port's session ends. It may be called from any goroutine and does not wait.
func (p *Port) Blame(addr uintptr) bool {
	s := p.session.Load()
	if s == nil || !s.Contains(addr) {
		return false
	}
	if !s.Absent(addr) {
		p.fail(fmt.Errorf("%w (address %#x)", ErrFault, addr))
	}
	return true
}

// blameRing is Blame for a fault at an access to a ring, which leaves it unknown how far the access
// has come.
func (p *Port) blameRing(addr uintptr) bool {
	s := p.session.Load()
	if s == nil || !s.Contains(addr) {
		return false
	}
	p.fail(fmt.Errorf("%w (address %#x)", ErrFault, addr))
	return true
}

// fail ends the session, from the data plane. Until that has taken effect the queues
// stand still.
func (p *Port) fail(err error) {
	if p.failed.CompareAndSwap(false, true) {
		if s := p.session.Load(); s != nil {
			s.Fail(err)
		}
	}
}

// Receiving returns how many queues the guest's driver receives on. 0: no driver.
func (p *Port) Receiving() int { return len(*p.receivers.Load()) }

// State returns what the front-end that is connected has said; the zero value if
// there is none.
func (p *Port) State() vhostuser.State {
	s := p.session.Load()
	if s == nil {
		return vhostuser.State{}
	}
	return s.Snapshot()
}

// Notifications returns how often, over the port's life, the guest has woken us and
// we have signalled the guest.
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
