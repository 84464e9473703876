package vswitch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Errors that callers may want to distinguish. Returned errors wrap them and name the port or the
// address.
var (
	ErrPortExists    = errors.New("port exists")
	ErrNoPort        = errors.New("no such port")
	ErrTooManyPorts  = errors.New("too many ports")
	ErrDetached      = errors.New("port is detached")
	ErrBadName       = errors.New("bad port name")
	ErrBadVLAN       = errors.New("bad VLAN setting")
	ErrBadMAC        = errors.New("not the address of a station")
	ErrAddressPinned = errors.New("address is pinned")
	ErrNoEntry       = errors.New("no such FDB entry")
	ErrTableFull     = errors.New("FDB is full of static entries")
	ErrBadEntry      = errors.New("bad FDB entry")
	ErrBadCommunity  = errors.New("bad community")
)

// Defaults and limits of Config.
const (
	DefaultAgingTime = 300 * time.Second
	DefaultTableSize = 8192
	MaxTableSize     = 1 << 24

	// MaxPorts is the most ports that can be attached at once.
	MaxPorts = maxPorts - 2

	// AnyVLAN as a VLAN argument stands for all VLANs.
	AnyVLAN = -1
)

// Config is the configuration of a new Switch.
type Config struct {
	FDB FDBConfig

	// TableSize is the most entries that the FDB holds, static ones included; 0: DefaultTableSize.
	// At most MaxTableSize. The memory is allocated at once: 96 bytes for each entry if the number
	// is a power of two, up to twice as much if not, and at least 736 KiB.
	TableSize int

	Mcast McastConfig // the zero value: no snooping
	Loop  LoopConfig  // the zero value: no loop detection

	// Address is the source address of frames that the switch itself sends. The zero value stands
	// for a random one.
	Address MAC

	// Nanotime is the clock of rates, in nanoseconds since any time; it never goes back. Several
	// goroutines may call it at the same time. nil: the time since New.
	Nanotime func() int64
}

// FDBConfig is the times of the FDB, in whole seconds; others are rounded up.
type FDBConfig struct {
	// AgingTime is how long a learned address stays in the FDB after the last frame from the
	// address; 0: DefaultAgingTime.
	AgingTime time.Duration

	// HoldDown is how long an address that has moved between ports five times within 180 seconds
	// (RFC 7432, section 15.1) stays where it is; 0: learned addresses always move.
	HoldDown time.Duration
}

// A Switch forwards frames between ports. All methods may be called from any goroutine, but not
// from inside Port.Transmit.
type Switch struct {
	fdb     *fdb
	mdb     *mdb
	neigh   atomic.Pointer[neighTable] // nil: no port has PortConfig.NeighSuppress
	set     atomic.Pointer[portSet]    // what the data plane reads
	started time.Time
	journal atomic.Pointer[Journal] // see OpenJournal
	stop    chan struct{}
	janitor sync.WaitGroup

	nanotime func() int64 // the clock of rates

	mu        sync.Mutex // ranks before fdb.mu
	names     map[string]*Attachment
	ids       [maxPorts]bool // in use, or still waited for after a detach
	inlets    map[*Inlet]struct{}
	mcast     McastConfig
	loop      LoopConfig
	attached  uint32 // ports so far
	published uint64 // port sets so far
	mirrors   []MirrorInfo
	taps      []*tapEntry
	groups    []staticMember
	filters   *filterTable
	neighbors []Neighbor // configured

	loopReports []LoopReport

	filterMu sync.Mutex // see filter_admin.go; ranks before mu

	origin    origin
	prober    prober
	announcer announcer
}

// New makes a switch without ports and starts its janitor, a goroutine that advances the clock and
// removes old entries until Close.
func New(cfg Config) *Switch {
	s := newSwitch(cfg)
	s.janitor.Go(s.tidy)
	return s
}

// newSwitch makes a switch without a janitor, whose clock stands still: tests call s.tick.
func newSwitch(cfg Config) *Switch {
	if cfg.TableSize <= 0 {
		cfg.TableSize = DefaultTableSize
	}
	s := &Switch{
		fdb:     newFDB(min(cfg.TableSize, MaxTableSize), cfg.FDB),
		mdb:     &mdb{late: make(chan lateMessage, maxLateMessages), wake: make(chan struct{}, 1)},
		mcast:   cfg.Mcast,
		loop:    cfg.Loop,
		prober:  newProber(),
		started: time.Now(),
		stop:    make(chan struct{}),
		names:   make(map[string]*Attachment),
		inlets:  make(map[*Inlet]struct{}),
		filters: new(filterTable),
	}
	s.nanotime = cfg.Nanotime
	if s.nanotime == nil {
		s.nanotime = func() int64 { return int64(time.Since(s.started)) }
	}
	if s.origin.address = cfg.Address; cfg.Address == (MAC{}) {
		s.origin.address = randomAddress()
	}
	s.mdb.address, s.mdb.now = s.origin.address, s.fdb.now
	s.ids[0], s.ids[blackhole] = true, true // no ports
	s.mdb.configure(cfg.Mcast.Snooping)
	s.publish()
	return s
}

func ceilSeconds(d time.Duration) uint32 {
	const most = 1 << 30 // differences of times are signed
	return uint32(min((d+time.Second-1)/time.Second, most))
}

func (s *Switch) tidy() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case l := <-s.mdb.late:
			s.mdb.learnLate(l)
		case <-s.mdb.wake:
			s.query(s.fdb.now())
		case <-t.C:
			s.tick(1 + uint32(time.Since(s.started)/time.Second))
		}
	}
}

// tick does what the janitor does once a second: now is the time in seconds.
func (s *Switch) tick(now uint32) {
	s.fdb.tick(now)
	s.mdb.tick(now)
	s.query(now)
	s.tickLoops(now)
	s.neigh.Load().tick(now)
	s.announce(now)
}

// Close stops the janitor. Ports stay attached and frames are still forwarded, but entries no
// longer age. Close is called once.
func (s *Switch) Close() {
	close(s.stop)
	s.janitor.Wait()
}

// publish replaces the port set of the data plane by one with the current ports. Needs mu.
func (s *Switch) publish() {
	set := &portSet{mcast: mcastView{s.mdb.table, s.mcast.Unregistered == McastFlooded}}
	last := portID(0)
	for _, a := range s.names {
		was := a.view
		m := mirroringOf(s.mirrors, was.cfg.Name)
		in, out := s.filters.find(was.cfg.IngressFilter), s.filters.find(was.cfg.EgressFilter)
		taps := tappingOf(s.taps, was.cfg.Name)
		open := !m.output && was.vlan.all && was.to == partition{}
		checked := in != nil || was.guard != nil || was.policing != nil
		same := m == was.mirror && in == was.ingressFilter && out == was.egressFilter && taps.equal(was.taps)
		if !same || open != was.open || checked != was.checked {
			v := *was
			v.open = open
			v.mirror, v.taps, v.ingressFilter, v.egressFilter = m, taps, in, out
			v.observed, v.checked = m.dst != 0 || taps != nil, checked
			a.view = &v
		}
		set.all = append(set.all, a.view)
		last = max(last, a.id)
	}
	slices.SortFunc(set.all, func(a, b *portView) int {
		return cmp.Or(cmp.Compare(a.vlan.bare, b.vlan.bare), cmp.Compare(a.id, b.id))
	})
	set.byID = make([]*portView, last+1)
	for _, v := range set.all {
		set.byID[v.id] = v
	}
	set.mirrors = makeMirrorSet(s.mirrors, set.all, s.filters)
	set.observed = len(s.mirrors)+len(s.taps) > 0
	set.neigh = s.neighView(set.all)
	set.loops = s.loopView(set.all)
	s.published++
	set.version = s.published
	s.set.Store(set)
}

// synchronize returns when no Deliver uses a port set published before the call. It must not be
// called with mu held, nor from inside Deliver.
func (s *Switch) synchronize() {
	s.mu.Lock()
	inlets := make([]*Inlet, 0, len(s.inlets))
	for in := range s.inlets {
		inlets = append(inlets, in)
	}
	s.mu.Unlock()
	for _, in := range inlets {
		in.epoch.wait()
	}
}

// PortInfo describes one port.
type PortInfo struct {
	Config  PortConfig // Counters included
	Up      bool
	Loop    *LoopBlock // nil: the port is not blocked
	Dynamic int        // learned FDB entries
	Static  int        // static FDB entries, pinned ones included
	Local   []MAC      // the host's own addresses on the port's interface
}

// Ports returns all ports, sorted by name.
func (s *Switch) Ports() []PortInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	infos := make([]PortInfo, 0, len(s.names))
	for _, a := range s.names {
		infos = append(infos, a.info())
	}
	slices.SortFunc(infos, func(a, b PortInfo) int { return cmp.Compare(a.Config.Name, b.Config.Name) })
	return infos
}

// FDBStats is the state of the FDB and the totals of its events.
type FDBStats struct {
	Entries   int // static ones included
	Static    int // pinned ones included
	TableSize int
	AgingTime time.Duration

	Learned uint64 // entries made from source addresses
	Moved   uint64 // dynamic entries that moved to another port
	Flapped uint64 // of these moves: those of an entry that had moved less than 10 s before
	Expired uint64 // removed because of their age
	Evicted uint64 // removed to make room for another

	StaticClaims uint64 // frames whose source address is a static one of another port
	Held         uint64 // frames whose source address has moved too often (FDBConfig.HoldDown)
	Limited      uint64 // not learned: max_macs, or too many evictions in this second
	Contended    uint64 // not learned at once: another goroutine was changing the table
	Full         uint64 // not learned: only static entries could have made room
}

// Stats returns the state of the FDB.
func (s *Switch) Stats() FDBStats {
	t := s.fdb
	t.mu.Lock()
	used, static := t.used-t.twins, t.fixed-t.twins
	t.mu.Unlock()
	n := t.events()
	return FDBStats{
		Entries: used, Static: static, TableSize: t.size,
		AgingTime: time.Duration(t.ageing.Load()) * time.Second,
		Learned:   n[FDBLearned], Moved: n[FDBMoved], Flapped: n[FDBFlapped],
		Expired: n[FDBExpired], Evicted: n[FDBEvicted],
		StaticClaims: n[FDBStaticClaims], Held: n[FDBHeld], Limited: n[FDBLimited],
		Contended: n[FDBContended], Full: n[FDBFull],
	}
}

// FDBEvents returns how often each event of the FDB has happened, summed over all ports, detached
// ones included.
func (s *Switch) FDBEvents() FDBEvents { return s.fdb.events() }

func (t *fdb) events() (n FDBEvents) {
	loadAll(n[:], t.stats[:])
	return n
}

// port returns the attached port of that name. Needs mu.
func (s *Switch) port(name string) (*Attachment, error) {
	a := s.names[name]
	if a == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoPort, name)
	}
	return a, nil
}
