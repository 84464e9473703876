package netport

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
)

// MaxQueues is how many queue pairs a port has at most (the limit of Linux's
// vhost-user front-ends is the same).
const MaxQueues = 128

// ErrFault is why a session ends whose front-end took its memory away.
var ErrFault = errors.New("guest memory vanished")

// A Source is a transmitq as a worker sees it.
type Source interface {
	FD() int
	Poll() int
	Arm() bool
	Disarm()
}

// Config says what a Port is. The functions are called on the control path, but
// for Blame.
type Config struct {
	Queues   int                // queue pairs offered, 1 to MaxQueues
	MTU      int                // largest MTU that the guest may be told, in bytes; 0: it is told none
	MAC      vswitch.MAC        // the address that the guest is told, see Port.SetMAC; zero: none
	Switch   *vswitch.Switch    // where the port is attached
	Port     vswitch.PortConfig // as what; its Name and Counters are the port's
	Offloads uint64             // see Port.SetOffloads
	Logger   hclog.Logger

	// Start gives a source to the data plane. Stop takes it back: when it
	// returns, nobody is in its methods.
	Start func(Source) error
	Stop  func(Source)

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
	session   atomic.Pointer[vhostuser.Session]
	failed    atomic.Bool   // the session has been told to end
	offloads  atomic.Uint64 // features to be offered to the next front-end ...
	offered   uint64        // ... and to the one that there is
	features  uint64        // negotiated
	mtu       int           // as the front-end told it
	space     configSpace

	mu sync.Mutex // of the control path: receivers, Close
}

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
	for i := range cfg.Queues {
		p.rx = append(p.rx, &rxQueue{port: p, index: 2 * i})
		p.tx = append(p.tx, &txQueue{port: p, index: 2*i + 1, kick: -1})
	}
	a, err := cfg.Switch.Attach(cfg.Port, p)
	if err != nil {
		return nil, fmt.Errorf("port %s: %w", cfg.Port.Name, err)
	}
	p.attachment = a
	a.SetUp(false)
	return p, nil
}

// Close detaches the port from the switch. Its session must have ended.
func (p *Port) Close() { p.attachment.Detach() }

// Attachment returns the port's place in the switch.
func (p *Port) Attachment() *vswitch.Attachment { return p.attachment }

// Blame ends the port's session if addr is in its guest's memory, and reports
// whether it was. It may be called from anywhere and does not wait.
func (p *Port) Blame(addr uintptr) bool {
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
	for i := range p.rx {
		calls += p.rx[i].totalCalls()
		k, c := p.tx[i].totals()
		kicks += k
		calls += c
	}
	return kicks, calls
}
