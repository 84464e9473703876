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

	// MACs are the addresses of the guest behind the port: they are static FDB
	// entries from Attach to Detach, in the VLAN of the port's untagged frames and
	// in all that Trunks names. Two ports cannot have the same.
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
	cfg, rule, err := checkPort(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Counters == nil {
		cfg.Counters = new(Counters)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[cfg.Name] != nil {
		return nil, fmt.Errorf("%w: %s", ErrPortExists, cfg.Name)
	}
	id := portID(slices.Index(s.ids[:], false))
	if int(id) >= maxPorts {
		return nil, fmt.Errorf("attaching port %s: %w", cfg.Name, ErrTooManyPorts)
	}
	a := &Attachment{sw: s, id: id}
	a.view = &portView{id: id, att: a, port: p, counters: cfg.Counters, cfg: cfg, vlan: rule}
	if err := a.enterFDB(); err != nil {
		return nil, err
	}
	a.view.fdb = a.fdb
	s.ids[id] = true
	s.names[cfg.Name] = a
	s.publish()
	return a, nil
}

// checkPort returns cfg with copies of its slices, and its VLAN rule.
func checkPort(cfg PortConfig) (PortConfig, vlanRule, error) {
	if !validName(cfg.Name) {
		return cfg, vlanRule{}, fmt.Errorf("%w: %q (1 to 15 letters, digits and . _ -)", ErrBadName, cfg.Name)
	}
	for _, m := range cfg.MACs {
		if !m.IsUnicast() {
			return cfg, vlanRule{}, fmt.Errorf("port %s: %w: %s", cfg.Name, ErrBadMAC, m)
		}
	}
	rule, err := makeVLANRule(&cfg)
	if err != nil {
		return cfg, vlanRule{}, fmt.Errorf("port %s: %w", cfg.Name, err)
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

// enterFDB opens the FDB for a new port and pins its addresses. Needs sw.mu.
func (a *Attachment) enterFDB() error {
	t := a.sw.fdb
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.openPort(a.id, a.view.cfg.MaxMACs)
	if err := t.pin(p, &a.view.cfg, &a.view.vlan); err != nil {
		t.closePort(p)
		return fmt.Errorf("port %s: %w", a.view.cfg.Name, err)
	}
	a.fdb = p
	return nil
}

// pin makes the static entries of p the pinned ones that cfg asks for, plus
// the static ones that are not of the port's configuration. If it fails, all
// is as before.
func (t *fdb) pin(p *fdbPort, cfg *PortConfig, rule *vlanRule) error {
	var want []fdbKey
	for _, m := range cfg.MACs {
		for _, v := range rule.pinned(cfg) {
			k := makeKey(m.addr(), v)
			if _, kind, owner := t.get(k); owner != nil && kind == entryPinned && owner != p {
				return fmt.Errorf("%w to another port: %s in VLAN %d", ErrAddressPinned, m, v)
			}
			want = append(want, k)
		}
	}
	// What stays is not touched: a reader that finds nothing for a moment would
	// flood the port's frames to others.
	had := t.pinned(p)
	stale, fresh := without(had, want), without(want, had)
	t.unpin(p, stale)
	err := t.pinAll(p, fresh)
	if err != nil {
		t.unpin(p, fresh)
		t.pinAll(p, stale) // there was room for them before
	}
	return err
}

// without returns the keys in a that are not in b.
func without(a, b []fdbKey) (rest []fdbKey) {
	in := make(map[fdbKey]bool, len(b))
	for _, k := range b {
		in[k] = true
	}
	for _, k := range a {
		if !in[k] {
			rest = append(rest, k)
		}
	}
	return rest
}

func (t *fdb) pinAll(p *fdbPort, keys []fdbKey) error {
	if t.fixed+len(keys) > t.size {
		return ErrTableFull
	}
	for _, k := range keys {
		if err := t.setStatic(k, p, entryPinned); err != nil {
			return err
		}
	}
	return nil
}

// pinned returns the keys of p's pinned entries.
func (t *fdb) pinned(p *fdbPort) (keys []fdbKey) {
	for s := p.static.first; s != noSlot; s = t.cold[s].next {
		if c := t.cold[s]; c.kind == entryPinned {
			keys = append(keys, c.key)
		}
	}
	return keys
}

// unpin removes those of p's pinned entries that have one of the keys.
func (t *fdb) unpin(p *fdbPort, keys []fdbKey) {
	for _, k := range keys {
		if s, kind, owner := t.get(k); owner == p && kind == entryPinned {
			t.remove(s)
		}
	}
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

func (a *Attachment) info() PortInfo {
	t := a.sw.fdb
	t.mu.Lock()
	defer t.mu.Unlock()
	return PortInfo{Config: a.view.cfg, Up: a.view.up, Dynamic: a.fdb.dynamic.n, Static: a.fdb.static.n}
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

// Reconfigure replaces the port's configuration; its name stays, its counters
// too if cfg.Counters is nil. If there is an error, nothing is changed. What was
// learned in VLANs that the port is no longer in is forgotten. When Reconfigure
// returns, no frame is handled by the old rules any more.
//
// It waits for every Deliver that is running: the caller holds no lock that a
// Transmit takes.
func (a *Attachment) Reconfigure(cfg PortConfig) error {
	cfg, rule, err := checkPort(cfg)
	if err != nil {
		return err
	}
	if err := a.replace(cfg, rule); err != nil {
		return err
	}
	a.sw.synchronize()
	a.forgetForeign(&rule)
	return nil
}

func (a *Attachment) replace(cfg PortConfig, rule vlanRule) error {
	s, t := a.sw, a.sw.fdb
	s.mu.Lock()
	defer s.mu.Unlock()
	v := *a.view
	if a.detached {
		return fmt.Errorf("%w: %s", ErrDetached, v.cfg.Name)
	}
	if cfg.Name != v.cfg.Name {
		return fmt.Errorf("%w: port %s cannot be renamed to %s", ErrBadName, v.cfg.Name, cfg.Name)
	}
	if cfg.Counters == nil {
		cfg.Counters = v.cfg.Counters
	}
	t.mu.Lock()
	err := t.pin(a.fdb, &cfg, &rule)
	if err == nil {
		a.fdb.max.Store(int32(cfg.MaxMACs))
	}
	t.mu.Unlock()
	if err != nil {
		return fmt.Errorf("port %s: %w", cfg.Name, err)
	}
	v.cfg, v.vlan, v.counters = cfg, rule, cfg.Counters
	a.view = &v
	s.publish()
	return nil
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
	s, t := a.sw, a.sw.fdb
	s.mu.Lock()
	if a.detached {
		s.mu.Unlock()
		s.synchronize()
		return
	}
	a.detached = true
	delete(s.names, a.view.cfg.Name)
	s.publish()
	t.mu.Lock()
	t.closePort(a.fdb)
	t.mu.Unlock()
	s.mu.Unlock()

	s.synchronize()

	// Only now can nobody have an answer from the FDB that names the id.
	s.mu.Lock()
	s.ids[a.id] = false
	s.mu.Unlock()
}
