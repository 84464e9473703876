package vswitch

import (
	"fmt"
	"slices"
)

// PortConfig is what the switch is to know about a port. Start from
// DefaultPortConfig.
type PortConfig struct {
	Name     string    // 1 to 15 letters, digits and ". _ -"
	Counters *Counters // shared with the Port; nil: new ones

	Learning   bool // source addresses go into the FDB
	Flood      bool // the port gets unicast frames whose destination is not in the FDB
	McastFlood bool // and multicast frames
	BcastFlood bool // and broadcast frames
	Isolated   bool // isolated ports do not reach each other
	Hairpin    bool // frames may go back out of the port that they came from

	// GroupFwdMask are the reserved addresses that frames from the port may be sent to: bit N stands
	// for 01:80:C2:00:00:0N. As with the Linux bridge's group_fwd_mask, the port that a frame comes
	// from decides; where it goes is decided as for any other group address.
	GroupFwdMask uint16

	// MACs are the addresses of the guest behind the port: they are static FDB
	// entries from Attach to Detach, in every VLAN that the port carries. Two ports
	// cannot have the same in the same VLAN.
	MACs []MAC

	// MaxMACs is how many addresses are learned from the port at most, MACs
	// not counted; 0: no limit but the table's. A frame from one more is
	// forwarded but not learned.
	MaxMACs int

	Tag      uint16   // VLAN of frames without a tag, 1 to 4094; 0: none
	Trunks   []uint16 // VLANs of a trunk; empty: all
	VLANMode VLANMode // how Tag and Trunks are used
}

// DefaultPortConfig returns the configuration of a port that learns and gets
// all that is flooded.
func DefaultPortConfig(name string) PortConfig {
	return PortConfig{Name: name, Learning: true, Flood: true, McastFlood: true, BcastFlood: true}
}

// An Attachment is a port's place in the switch.
type Attachment struct {
	sw  *Switch
	id  portID
	fdb *fdbPort

	// Guarded by sw.mu.
	view     *portView // what is published, and replaced as a whole
	detached bool
}

// portView is one port as the data plane sees it. It is never changed, but
// replaced.
type portView struct {
	id       portID
	up       bool
	att      *Attachment
	port     Port
	counters *Counters
	fdb      *fdbPort
	cfg      PortConfig
	vlan     vlanRule
	local    []MAC // the host's own; see SetLocal
	spare    []MAC
}

// pinned returns the addresses that are pinned to the port.
func (v *portView) pinned() []MAC { return slices.Concat(v.cfg.MACs, v.local) }

// isLocal reports whether an address is one of the host's on the port.
func (v *portView) isLocal(a addr) bool {
	return slices.Contains(v.local, a.mac()) || slices.Contains(v.spare, a.mac())
}

// portSet is all ports as the data plane sees them at one moment. It is never
// changed, but replaced.
type portSet struct {
	byID []*portView // nil: no such port
	all  []*portView // ports to which frames go in the same shape are neighbours
}

// get returns a port by id, or nil.
func (ps *portSet) get(id portID) *portView {
	if int(id) >= len(ps.byID) {
		return nil
	}
	return ps.byID[id]
}

// Attach adds a port to the switch. It is down: nothing is sent to it or taken
// from it until SetUp.
func (s *Switch) Attach(cfg PortConfig, p Port) (*Attachment, error) {
	attached, err := s.Apply(&Change{Attach: []NewPort{{cfg, p}}, KeepStatic: true})
	if err != nil {
		return nil, err
	}
	return attached[0], nil
}

// checkPort returns cfg with copies of its slices, and its VLAN rule.
func checkPort(cfg PortConfig) (PortConfig, vlanRule, error) {
	if !validName(cfg.Name) {
		return cfg, vlanRule{}, fmt.Errorf("%w: %q (1 to 15 letters, digits and . _ -)", ErrBadName, cfg.Name)
	}
	for _, m := range cfg.MACs {
		if !m.IsUnicast() {
			return cfg, vlanRule{}, fmt.Errorf("%w: %s", ErrBadMAC, m)
		}
	}
	rule, err := makeVLANRule(&cfg)
	if err != nil {
		return cfg, vlanRule{}, err
	}
	cfg.MACs, cfg.Trunks = slices.Clone(cfg.MACs), slices.Clone(cfg.Trunks)
	cfg.MaxMACs = max(cfg.MaxMACs, 0)
	return cfg, rule, nil
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
		Config: a.view.cfg, Up: a.view.up, Local: slices.Concat(a.view.local, a.view.spare),
		Dynamic: a.fdb.dynamic.n, Static: a.fdb.static.n - a.fdb.twins,
	}
}

// SetUp says whether the port can send and receive. A port that is down gets
// nothing; unicast frames that would go to it count as DropDown there, and are
// not flooded instead. What arrives from it counts as DropSourceDown. When it
// goes down, what was learned from it is forgotten.
//
// SetUp does not wait: for a moment after it, Transmit may still be running on
// the port, or be called. It may be called with locks held that Transmit takes.
func (a *Attachment) SetUp(up bool) {
	s, t := a.sw, a.sw.fdb
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.detached || a.view.up == up {
		return
	}
	v := *a.view
	v.up = up
	a.view = &v
	s.publish()

	t.mu.Lock()
	defer t.mu.Unlock()
	a.fdb.open = up // who still has the old port set learns nothing more
	if !up {
		t.flushList(&a.fdb.dynamic, AnyVLAN)
	}
}

// Reconfigure replaces the port's configuration, with Apply; its counters stay the same if
// cfg.Counters is nil. If there is an error, nothing is changed.
func (a *Attachment) Reconfigure(cfg PortConfig) error {
	_, err := a.sw.Apply(&Change{Reconfigure: []Reconfiguration{{Attachment: a, Config: cfg}}, KeepStatic: true})
	return err
}

// forgetForeign removes what was learned in VLANs that the port is not in.
func (a *Attachment) forgetForeign(rule *vlanRule) {
	t := a.sw.fdb
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := a.fdb.dynamic.first; s != noSlot; {
		c := t.cold[s]
		if !rule.carries(c.key.vlan()) {
			t.remove(s)
		}
		s = c.next
	}
}

// Detach takes the port, and all FDB entries that name it, out of the switch.
// When it returns, no Transmit is running on the port, and none will be called.
// Inlets stay usable: what they deliver is dropped. Detaching twice is
// harmless.
//
// It waits for every Deliver that is running: it must not be called from inside
// one, and the caller holds no lock that a Transmit takes.
func (a *Attachment) Detach() {
	// Nothing about it can be refused.
	_, _ = a.sw.Apply(&Change{Detach: []*Attachment{a}, KeepStatic: true})
}
