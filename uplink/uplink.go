package uplink

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
)

var (
	// ErrNotEthernet is returned by Open for an interface that has no Ethernet frames, like a tun
	// device or the loopback.
	ErrNotEthernet = errors.New("not an Ethernet interface")

	// ErrPrivilege is returned by Open when the process may not open packet sockets.
	ErrPrivilege = errors.New("packet sockets need the capability CAP_NET_RAW")
)

// DefaultRingSize is the size of the receive ring in bytes: 1024 slots for an MTU of up to 1946
// bytes, which is a millisecond at a million frames per second.
const DefaultRingSize = 2 << 20

// DropKernelRing is the name of the reason why the kernel dropped frames that came in by an uplink:
// the ring that the kernel shares with this process was full. The kernel counts these
// (Status.KernelDrops), so they are no vswitch.DropReason.
const DropKernelRing = "kernel-ring-full"

// Config says what an uplink is to be. It is not changed after Open.
type Config struct {
	Name        string // the port's, for errors and logs
	Interface   string // the host interface's
	Promiscuous bool   // receive frames to any address, not only those of SetAddresses and multicast
	HostEnd     bool   // the interface is one end of a veth pair of which the host uses the other end
	RingSize    int    // bytes of the receive ring, approximately; 0: DefaultRingSize
	Counters    *vswitch.Counters
	Logger      hclog.Logger // which says what port this is; nil: no logging

	// Interfaces keeps uplinks off each other's interfaces. Nil: there are no others.
	Interfaces *Interfaces

	// Adopt is what an uplink of another process has saved, which this one continues. The uplink
	// takes ownership of its file descriptors. Nil: there is none.
	Adopt *Saved

	// Deliver takes the frames that come in: Inlet.Deliver. It is called by Poll alone, with 1 to
	// vswitch.MaxBatch frames that are valid until it returns.
	Deliver func([]vswitch.Frame)

	// SetUp is called with whether the interface can carry frames: by Begin, then on each change.
	SetUp func(up bool)

	// SetLocal is called with the host's addresses on the interface, each time they change: the
	// interface's own, and others on top of it. With HostEnd, the host's address is that of the
	// other end, and there are no others. After an error the call is repeated later. Nil: the
	// addresses are not needed.
	SetLocal func(own, others []vswitch.MAC) error

	// Start hands a socket over to the data plane. Stop takes it back, and returns when none of its
	// methods runs or will run. Both are called, like SetUp and SetLocal, one at a time, by Begin,
	// Close or a goroutine of the uplink, and must call none of the Uplink's methods but Transmit
	// and Caps.
	Start func(worker.Source)
	Stop  func(worker.Source)
}

// An Uplink is a switch port on a host interface. See the package's documentation.
type Uplink struct {
	cfg Config
	log hclog.Logger

	// For Transmit and Caps, on any worker.
	sockMu  sync.RWMutex // see transmit.go
	sock    *socket      // nil while there is no interface
	batches txBatches
	mtu     atomic.Int64
	uso     bool

	// The control side: ctlMu is held for each look at the interface and for Begin, Close and
	// Status. Ranks before sockMu.
	ctlMu     sync.Mutex
	begun     bool
	closed    bool
	receiving bool  // cfg.Start has been called for sock
	link      *link // as last seen; nil: gone
	portUp    bool  // SetUp's last argument
	lastErr   string

	held     localAddresses // SetLocal's last arguments
	heldOnce bool           // SetLocal has been called
	localErr string         // why not all of them are held

	addresses  []vswitch.MAC // see SetAddresses
	leftOut    int           // how many are missing there
	addressErr bool          // that one cannot be joined has been logged

	lro     bool // large receive offload is on, and stays on
	taken   bool // lastErr is that another uplink has the interface
	logged  snapshot
	packets uint64 // of sockets that are closed, and of the current one up to now
	drops   uint64

	quit      chan struct{}
	wake      chan struct{} // an interface that was another uplink's may be free
	watchDone chan struct{}
}

// Open makes an uplink on an interface in the process's network namespace. If there is no interface
// of that name, or if another uplink has it, the uplink waits for the interface, as it does when
// the interface goes away later. Open calls none of cfg's functions: attach the Uplink to the
// switch, then call Begin.
//
// Errors wrap ErrNotEthernet or ErrPrivilege where these apply.
func Open(cfg Config) (*Uplink, error) {
	if cfg.RingSize == 0 {
		cfg.RingSize = DefaultRingSize
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.Interfaces == nil {
		cfg.Interfaces = new(Interfaces)
	}
	u := &Uplink{
		cfg:       cfg,
		log:       cfg.Logger.With("interface", cfg.Interface),
		uso:       kernelTakesUSO(),
		quit:      make(chan struct{}),
		wake:      make(chan struct{}, 1),
		watchDone: make(chan struct{}),
	}
	if cfg.Adopt != nil {
		if err := u.adopt(); err != nil {
			return nil, fmt.Errorf("uplink %s on interface %s: %w", cfg.Name, cfg.Interface, err)
		}
		if u.sock != nil {
			return u, nil
		}
	}
	l, err := findLink(cfg.Interface, 0)
	if err == nil && l != nil {
		u.link = l
		u.mtu.Store(int64(l.mtu))
		err = u.attach(l)
	}
	if errors.Is(err, ErrTaken) {
		u.note(err)
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("uplink %s on interface %s: %w", cfg.Name, cfg.Interface, err)
	}
	return u, nil
}

// Check returns why no uplink can ever be on the interface of that name, or nil. The error is the
// one that Open would return if the interface is there.
func Check(name string) error {
	l, err := findLink(name, 0)
	if err == nil && l != nil && !l.ether {
		err = fmt.Errorf("%s: %w", name, ErrNotEthernet)
	}
	return err
}

// Begin starts the traffic: it calls cfg.SetUp and cfg.Start, and from now on the uplink follows
// its interface.
func (u *Uplink) Begin() {
	u.ctlMu.Lock()
	defer u.ctlMu.Unlock()
	if u.begun || u.closed {
		panic("uplink: Begin called twice or after Close")
	}
	u.begun = true
	u.holdAddresses()
	u.portUp = u.sock != nil && u.link.up()
	u.cfg.SetUp(u.portUp)
	u.receive()
	u.logState()
	go u.watch()
}

// Close takes the socket back and closes the socket. When it returns, none of cfg's functions runs
// or will run. The caller has detached the port from the switch or goes on calling Transmit, which
// drops everything.
func (u *Uplink) Close() error {
	u.ctlMu.Lock()
	if u.closed {
		u.ctlMu.Unlock()
		return nil
	}
	u.closed = true
	begun := u.begun
	u.ctlMu.Unlock()

	close(u.quit)
	if begun {
		<-u.watchDone
	}
	u.ctlMu.Lock()
	defer u.ctlMu.Unlock()
	err := u.detach()
	u.cfg.Interfaces.release(u) // also when it has only waited for one
	return err
}

// attach opens a socket on l. ctlMu is held, or u is not yet shared.
func (u *Uplink) attach(l *link) (err error) {
	if !l.ether {
		return ErrNotEthernet
	}
	if err := u.cfg.Interfaces.take(l, u); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			u.cfg.Interfaces.release(u)
		}
	}()
	s, err := openSocket(socketConfig{
		index:       l.index,
		mac:         l.mac,
		promiscuous: u.cfg.Promiscuous,
		ringSize:    u.cfg.RingSize,
		slotSize:    slotSizeFor(l.mtu),
	})
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (%w)", ErrPrivilege, unix.EPERM)
	}
	if err != nil {
		return fmt.Errorf("opening a packet socket: %w", err)
	}
	s.rx.deliver, s.rx.counters = u.cfg.Deliver, u.cfg.Counters
	s.clearError()
	u.sockMu.Lock()
	u.sock = s
	u.sockMu.Unlock()
	u.program() // what is left, by one of the next calls of SetAddresses
	return nil
}

// receive hands a new socket to the data plane once the port is up, and not before: the switch
// drops what it gets from a port that is down. Frames wait in the ring meanwhile. ctlMu is held.
func (u *Uplink) receive() {
	if u.portUp && !u.receiving {
		u.receiving = true
		u.cfg.Start(u.sock.rx)
	}
}

// detach closes the socket, if there is one, and releases the interface. ctlMu is held.
func (u *Uplink) detach() error {
	s := u.sock
	if s == nil {
		return nil
	}
	defer u.cfg.Interfaces.release(u)
	if u.receiving {
		u.receiving = false
		u.cfg.Stop(s.rx)
	}
	u.sockMu.Lock() // waits for every Transmit
	u.sock = nil
	u.sockMu.Unlock()
	u.addKernelStats(s)
	return s.close()
}

// follow reads the interface's state and brings the uplink into line with it. The result depends on
// nothing else, so follow may be called at any time.
func (u *Uplink) follow() {
	u.ctlMu.Lock()
	defer u.ctlMu.Unlock()
	if u.closed {
		return
	}
	index := 0
	if u.sock != nil && u.sock.bound() {
		index = u.sock.index
	}
	l, err := findLink(u.cfg.Interface, index)
	if err != nil {
		u.note(fmt.Errorf("looking at the interface: %w", err))
		return // and leave everything as it is
	}
	u.link = l
	if l != nil {
		u.mtu.Store(int64(l.mtu))
	}

	fits := u.sock != nil && l != nil && index == l.index && u.sock.ring.slotSize == slotSizeFor(l.mtu)
	if !fits {
		if l == nil || index != l.index {
			u.setUp(false) // another interface: forget what was learned on the old one
		}
		if err := u.detach(); err != nil {
			u.log.Warn("closing the packet socket failed", "error", err)
		}
	}
	switch {
	case l == nil || fits:
		u.note(nil)
	default:
		u.note(u.attach(l))
	}
	u.holdAddresses()
	u.noLRO()
	u.setUp(u.sock != nil && l.up())
	u.receive()
	u.logState()
	if u.sock != nil && !l.up() {
		u.sock.clearError()
	}
}

// setUp calls SetUp if its argument has changed. ctlMu is held.
func (u *Uplink) setUp(up bool) {
	if up != u.portUp {
		u.portUp = up
		u.cfg.SetUp(up)
	}
}

// note logs why the uplink cannot work, once for as long as the reason stays the same. ctlMu is
// held.
func (u *Uplink) note(err error) {
	msg := ""
	if err != nil {
		msg = err.Error()
	}
	u.taken = errors.Is(err, ErrTaken)
	switch {
	case msg == u.lastErr || msg == "":
	case u.taken:
		u.log.Warn("uplink waits for its interface", "reason", msg)
	default:
		u.log.Error("uplink does not work, trying again", "error", msg, "every", recheck)
	}
	u.lastErr = msg
}

// A snapshot is the part of the interface's state whose changes are logged.
type snapshot struct {
	state      string
	name       string
	index, mtu int
}

// logState logs the interface's state if it has changed. ctlMu is held.
func (u *Uplink) logState() {
	now := snapshot{state: u.state()}
	if l := u.link; l != nil {
		now.name, now.index, now.mtu = l.name, l.index, l.mtu
	}
	was := u.logged
	u.logged = now
	switch {
	case now == was:
	case now.state == StateError || now.state == StateTaken: // note has said it
	case now.state == StateAbsent && was.state == "":
		u.log.Warn("there is no interface of this name, waiting for it")
	case now.state == StateAbsent:
		u.log.Warn("interface is gone, waiting for it to come back")
	default:
		if now.index == was.index && now.name != was.name {
			u.log.Info("interface was renamed", "from", was.name, "to", now.name)
		}
		u.log.Info("interface is "+now.state, "index", now.index, "mac", u.link.mac.String(), "mtu", now.mtu)
	}
}

// Interface states, as Status reports them.
const (
	StateUp        = "up"
	StateNoCarrier = "no-carrier"
	StateDown      = "down"   // set down
	StateAbsent    = "absent" // does not exist at present
	StateTaken     = "taken"  // another uplink has it
	StateError     = "error"  // exists, but Status.Err
)

// state names the state of the interface. ctlMu is held.
func (u *Uplink) state() string {
	switch {
	case u.link == nil:
		return StateAbsent
	case u.sock == nil && u.taken:
		return StateTaken
	case u.sock == nil:
		return StateError
	case !u.link.admin:
		return StateDown
	case !u.link.carrier:
		return StateNoCarrier
	}
	return StateUp
}

// Status describes an uplink at one moment.
type Status struct {
	Interface string           // its present name, if it was renamed
	State     string           // one of the State constants
	Err       string           // what stands in the way, empty if nothing does
	Index     int              // 0 while absent, like the following
	MAC       net.HardwareAddr //
	MTU       int              // bytes behind the Ethernet header

	Promiscuous     bool
	Addresses       int  // of stations, that the interface receives frames for; 0 if Promiscuous
	LeftOut         int  // of stations, over MaxAddresses
	LRO             bool // the interface merges what it receives, and cannot be kept from that
	IgnoresOutgoing bool // the kernel does it; else the uplink sorts its own frames out
	RingSlots       int
	RingSlotSize    int // bytes

	// What the kernel counted since Open, over all sockets: frames that came to the socket, and
	// those of them that it dropped because the ring was full.
	KernelFrames, KernelDrops uint64
}

// Status may be called from anywhere; it makes a few system calls.
func (u *Uplink) Status() Status {
	u.ctlMu.Lock()
	defer u.ctlMu.Unlock()
	st := Status{
		Interface:   u.cfg.Interface,
		State:       u.state(),
		Err:         cmp.Or(u.lastErr, u.localErr),
		Promiscuous: u.cfg.Promiscuous,
	}
	if l := u.link; l != nil {
		st.Interface, st.Index, st.MAC, st.MTU = l.name, l.index, l.mac, l.mtu
	}
	if s := u.sock; s != nil {
		u.addKernelStats(s)
		st.IgnoresOutgoing = s.ignoresOutgoing
		st.Addresses = len(s.joined)
		st.RingSlots, st.RingSlotSize = s.ring.slots, s.ring.slotSize
	}
	st.LeftOut, st.LRO = u.leftOut, u.lro
	st.KernelFrames, st.KernelDrops = u.packets, u.drops
	return st
}

// addKernelStats adds up the kernel's counters, which reading resets. ctlMu is held.
func (u *Uplink) addKernelStats(s *socket) {
	p, d := s.kernelStats()
	u.packets += p
	u.drops += d
}

// Caps implements vswitch.Port.
func (u *Uplink) Caps() vswitch.Caps {
	return vswitch.Caps{
		Csum: true,
		TSO4: true,
		TSO6: true,
		ECN:  true,
		UFO:  true,
		USO4: u.uso,
		USO6: u.uso,
		MTU:  int(u.mtu.Load()),
	}
}

var _ vswitch.Port = (*Uplink)(nil)
