package vswitch

import (
	"fmt"
	"slices"
)

// PortConfig is the configuration of a port. Start from DefaultPortConfig.
type PortConfig struct {
	Name     string    // 1 to 15 letters, digits and ". _ -"
	Counters *Counters // shared with the Port; nil: new ones

	Learning      bool // the switch learns the source addresses of frames from the port
	Flood         bool // unicast frames whose destination is not in the FDB are flooded to the port
	McastFlood    bool // multicast frames are flooded to the port
	BcastFlood    bool // broadcast frames are flooded to the port
	Isolated      bool // the port reaches only ports that are neither isolated nor in a community
	NeighSuppress bool // see Neighbor: requests for known neighbors are not flooded to the port
	Hairpin       bool // frames may be sent back out of the port that they came from

	// Community is the name of a private-VLAN community, as for names of ports; "": none. Its ports
	// reach each other, and ports that are neither isolated nor in a community (RFC 5517:
	// promiscuous ports). A port cannot be isolated as well.
	Community string

	// GroupFwdMask are the reserved addresses that frames from the port may be sent to: bit N
	// stands for 01:80:C2:00:00:0N. As with the Linux bridge's group_fwd_mask, the mask of the
	// source port applies; the destinations of such a frame are those of any other group address.
	// Bit 0, spanning tree, stands for Cisco's PVST+ (01:00:0C:CC:CC:CD) as well.
	GroupFwdMask uint16

	// MACs are the addresses of the guest behind the port: static FDB entries from Attach to
	// Detach, in every VLAN that the port carries. Two ports cannot have the same address in the
	// same VLAN.
	MACs []MAC

	// MaxMACs is the most addresses that are learned from the port, MACs not counted; 0: only the
	// size of the table is the limit. A frame from a further address is forwarded, but the address
	// is not learned.
	MaxMACs int

	// McastRouter says when the port gets all multicast, and McastFastLeave that a membership ends
	// as soon as one station behind the port leaves the group: for ports with one station. Both
	// matter only with multicast snooping.
	McastRouter    McastRouter // "": McastRouterAuto
	McastFastLeave bool

	// IngressPolicingRate is the most bits per second that the port may send, MinRate to MaxRate;
	// 0: any number. Frames count as what they are on a wire: a GSO frame as its segments, each
	// with its headers; Ethernet headers and tags count, preamble and FCS do not. Frames beyond the
	// rate are dropped. IngressPolicingBurst is how many bytes may come at once after a time with
	// fewer frames; 0: what the rate gives in 20 ms, and at least 4096.
	IngressPolicingRate  uint64
	IngressPolicingBurst uint64

	// IngressPolicingPPS is the most frames per second that the port may send; 0: any number. 20
	// ms' worth of frames, and at least 16, may come at once.
	IngressPolicingPPS int

	// EgressRate and EgressBurst are the same for what is sent to the port, with the tags with
	// which the frames leave. Frames beyond the rate are dropped, not queued.
	EgressRate  uint64
	EgressBurst uint64

	// StormControlPPS is the most frames per second from the port that are flooded: broadcast,
	// multicast and unknown unicast together; 0: any number. The others are limits for one of these
	// classes. Bursts are those of IngressPolicingPPS.
	StormControlPPS        int
	StormControlBcastPPS   int
	StormControlMcastPPS   int
	StormControlUnknownPPS int

	Tag      uint16   // VLAN of frames without a tag, 1 to 4094; 0: none
	Trunks   []uint16 // VLANs of a trunk; empty: all
	VLANMode VLANMode // how Tag and Trunks are used

	// CVLANs are the customer's VLANs that a VLANTunnel port carries, where 0 stands for frames
	// without a tag; empty: all. Frames with a tag of another VLAN are neither accepted nor sent.
	// Other ports have none. QinQ is the type of the outer tag; "": QinQ8021AD.
	CVLANs []uint16
	QinQ   QinQ

	// Priority is the priority (PCP), 0 to 7, of frames that arrive without a tag, and of the outer
	// tag that a VLANTunnel port gives frames. With PriorityOverride, frames that arrive with a tag
	// have that priority as well.
	Priority         int
	PriorityOverride bool

	PriorityTags PriorityTags // of frames that leave without a VLAN; "": PriorityTagsKeep

	Guards Guards // what the port may send

	// Role is what is behind the port. It decides which port of a loop is blocked.
	Role PortRole

	// Announce: stations on ports that are no uplinks are announced to this port, which is an
	// uplink.
	Announce bool

	// LoopDetection: with LoopConfig.Detect, probes are sent to the port, and it may be blocked.
	LoopDetection bool

	// IngressFilter and EgressFilter are the names of the filters through which frames from the
	// port, and frames to it, have to pass; "": none.
	IngressFilter, EgressFilter string
}

// DefaultPortConfig returns the configuration of a port that learns addresses and to which all
// flooded frames are sent.
func DefaultPortConfig(name string) PortConfig {
	return PortConfig{Name: name, Learning: true, Flood: true, McastFlood: true, BcastFlood: true, McastRouter: McastRouterAuto,
		QinQ: QinQ8021AD, PriorityTags: PriorityTagsKeep, LoopDetection: true}
}

// An Attachment is a port that is, or was, attached to a switch.
type Attachment struct {
	sw    *Switch
	id    portID
	fdb   *fdbPort
	mcast *mcastPort
	loop  loopPort

	// Guarded by sw.mu.
	view     *portView  // as published; replaced as a whole
	sticky   []fdbKey   // of Change.Static
	up       bool       // as set by SetUp
	block    *loopBlock // nil: the port is not blocked
	detached bool
}

// portView is one port as the data plane sees it. A portView is immutable; a change of the port
// replaces it.
type portView struct {
	// What is read for every group of frames that goes to the port.
	id           portID
	up           bool // and not blocked
	open         bool // frames from any other port in any VLAN may go to the port
	observed     bool // mirrors or taps are shown what is sent to the port
	port         Port
	egress       *bucket // nil: the port is sent everything
	egressFilter *filter // nil: none
	vlan         vlanRule
	blocked      bool // because of a loop, and would be up
	att          *Attachment
	counters     *Counters
	fdb          *fdbPort
	mcast        *mcastPort
	guard        *guard        // nil: the port may send anything
	passed       uint16        // reserved addresses that classify lets pass, as GroupFwdMask
	policing     *policing     // nil: the port may send as much as it wants
	checked      bool          // the port has a filter, guards or rates for what it sends
	storm        *stormControl // nil: all that is to be flooded is flooded
	mirror       mirroring
	local        []MAC // the host's own addresses; see SetLocal
	spare        []MAC
	from, to     partition // see parts

	ingressFilter *filter // nil: none

	taps *tapping // nil: none

	cfg PortConfig // last, since little of it is read for a frame
}

// pinned returns the addresses that are pinned to the port.
func (v *portView) pinned() []MAC { return slices.Concat(v.cfg.MACs, v.local) }

// isLocal reports whether an address is one of the host's addresses on the port.
func (v *portView) isLocal(a addr) bool {
	return slices.Contains(v.local, a.mac()) || slices.Contains(v.spare, a.mac())
}

// portSet is all ports as the data plane sees them. A portSet is immutable; a change of any port
// replaces it.
type portSet struct {
	byID []*portView // nil: no such port
	all  []*portView // sorted so that frames change their shape as rarely as possible on the way

	mcast   mcastView
	neigh   neighView
	loops   loopView
	mirrors mirrorSet // nil: there are none

	observed bool // there are mirrors or taps

	version uint64 // number of the set among those of its switch
}

// get returns a port by id, or nil.
func (ps *portSet) get(id portID) *portView {
	if int(id) >= len(ps.byID) {
		return nil
	}
	return ps.byID[id]
}

// Attach adds a port to the switch. The port is down: no frames are sent to it or accepted from it
// until SetUp.
func (s *Switch) Attach(cfg PortConfig, p Port) (*Attachment, error) {
	attached, err := s.Apply(&Change{Attach: []NewPort{{Config: cfg, Port: p}}, KeepStatic: true})
	if err != nil {
		return nil, err
	}
	return attached[0], nil
}

// checkPort checks cfg, and returns a view with what follows from cfg alone. The view has copies of
// the slices in cfg.
func checkPort(cfg PortConfig) (*portView, error) {
	if !validName(cfg.Name) {
		return nil, fmt.Errorf("%w: %q (1 to 15 letters, digits and . _ -)", ErrBadName, cfg.Name)
	}
	for _, m := range cfg.MACs {
		if !m.IsUnicast() {
			return nil, &settingError{"mac", fmt.Errorf("%w: %s", ErrBadMAC, m)}
		}
	}
	rule, err := makeVLANRule(&cfg)
	if err != nil {
		return nil, err
	}
	g, err := makeGuard(&cfg)
	if err != nil {
		return nil, err
	}
	if err := checkRates(&cfg); err != nil {
		return nil, err
	}
	cfg.MACs, cfg.Trunks = slices.Clone(cfg.MACs), slices.Clone(cfg.Trunks)
	cfg.CVLANs = slices.Clone(cfg.CVLANs)
	cfg.MaxMACs = max(cfg.MaxMACs, 0)
	if cfg.McastRouter == "" {
		cfg.McastRouter = McastRouterAuto
	}
	cfg.Guards = cfg.Guards.clone()
	v := &portView{cfg: cfg, vlan: rule, guard: g, passed: g.passed(&cfg)}
	v.from, v.to, err = partitions(&cfg)
	return v, err
}

func validName(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 15
}

// Name returns the port's name.
func (a *Attachment) Name() string { return a.Config().Name }

// Config returns the port's configuration.
func (a *Attachment) Config() PortConfig {
	a.sw.mu.Lock()
	defer a.sw.mu.Unlock()
	return a.view.cfg
}

// Counters returns the port's counters.
func (a *Attachment) Counters() *Counters { return a.Config().Counters }

// Info describes the port.
func (a *Attachment) Info() PortInfo {
	a.sw.mu.Lock()
	defer a.sw.mu.Unlock()
	return a.info()
}

func (a *Attachment) info() PortInfo {
	t := a.sw.fdb
	t.mu.Lock()
	defer t.mu.Unlock()
	return PortInfo{
		Config: a.view.cfg, Up: a.up, Loop: a.block.info(t.now()), Local: slices.Concat(a.view.local, a.view.spare),
		Dynamic: a.fdb.dynamic.n, Static: a.fdb.static.n - a.fdb.twins,
	}
}

// SetUp sets whether the port can send and receive. No frames are sent to a port that is down;
// unicast frames to a station behind it count as DropDown at the port, and are not flooded instead.
// Frames from it count as DropSourceDown. When a port goes down, its entries that age are removed
// from the FDB, and what was learned from it from the multicast database. When it comes up, the
// sticky entries of Change.Static are made again.
//
// SetUp does not wait: for a moment after it has returned, Transmit may still be running on the
// port, or be called. SetUp may be called with locks held that Transmit takes.
func (a *Attachment) SetUp(up bool) {
	a.sw.mu.Lock()
	defer a.sw.mu.Unlock()
	if a.detached || a.up == up {
		return
	}
	a.up = up
	a.reopen()
}

// reopen makes the port pass frames if it is up and not blocked. Needs Switch.mu.
func (a *Attachment) reopen() {
	s, t := a.sw, a.sw.fdb
	v := *a.view
	was := v.up
	v.up, v.blocked = a.up && a.block == nil, a.up && a.block != nil
	a.view = &v
	s.publish()
	if j := s.journal.Load(); j != nil {
		j.add(Record{What: RecordPort, Port: v.cfg.Name})
	}
	if v.up == was {
		return
	}
	up := v.up
	if up {
		s.announcer.begin(a.id, t.now())
	}
	s.mdb.setOpen(a.mcast, up)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !up {
		s.neigh.Load().forget(a.id)
	}
	a.fdb.open = up // a Deliver that still uses the old port set learns nothing more
	if !up {
		t.flush(a.fdb, FlushPortDown, AnyVLAN, entryDynamic, entrySticky)
		return
	}
	for _, k := range a.sticky {
		if _, _, p := t.get(k); p == nil || !t.pinnedIn(k) && p != a.fdb {
			_ = t.setEntry(k, a.fdb, entrySticky) // in a table full of static entries, another one is missing
		}
	}
}

// Reconfigure replaces the port's configuration, with Apply; the port keeps its counters if
// cfg.Counters is nil. If there is an error, nothing is changed.
func (a *Attachment) Reconfigure(cfg PortConfig) error {
	_, err := a.sw.Apply(&Change{Reconfigure: []Reconfiguration{{Attachment: a, Config: cfg}}, KeepStatic: true})
	return err
}

// forgetForeign removes the entries learned from the port in VLANs that rule does not carry.
func (a *Attachment) forgetForeign(rule *vlanRule) {
	t := a.sw.fdb
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for s := a.fdb.dynamic.first; s != noSlot; {
		c := t.cold[s]
		if !rule.carries(c.key.vlan()) {
			t.remove(s)
			n++
		}
		s = c.next
	}
	t.noteFlush(a.fdb, n, FlushVLANs)
}

// Detach removes the port, and all FDB entries that name it, from the switch. When Detach returns,
// no Transmit is running on the port, and none will be called. Inlets stay usable: the frames that
// they deliver are dropped. Detaching twice is harmless.
//
// Detach waits for every Deliver that is running. So it must not be called from inside a Deliver,
// nor with a lock held that a Transmit takes.
func (a *Attachment) Detach() {
	// A change that only detaches cannot be refused.
	_, _ = a.sw.Apply(&Change{Detach: []*Attachment{a}, KeepStatic: true})
}
