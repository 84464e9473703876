package vswitch

import (
	"errors"
	"fmt"
	"slices"
)

// A Change is a set of changes of a switch that are made together.
type Change struct {
	Detach      []*Attachment
	Reconfigure []Reconfiguration
	Attach      []NewPort

	// Static are the operator's FDB entries after the change, besides the addresses in
	// PortConfig.MACs. Entries added by AddFDB stay as well, except those of detached ports and
	// those that contradict the change. With KeepStatic, so do the entries of earlier changes.
	Static     []StaticEntry
	KeepStatic bool

	Mcast *McastConfig // multicast snooping after the change; nil: as before
	FDB   *FDBConfig   // times of the FDB after the change; nil: as before
	Loop  *LoopConfig  // loop detection after the change; nil: as before

	// Groups, if SetGroups is true, are the static members of groups after the change, besides
	// those added by AddGroup. These stay unless their port is detached or Groups says the same.
	// Without SetGroups, all stay whose port does.
	Groups    []StaticGroup
	SetGroups bool

	// Mirrors, if SetMirrors is true, are the mirrors after the change; a mirror keeps its counters
	// as long as it keeps its name. Otherwise, the present mirrors stay; they refer to ports by
	// their names, and a port that is not there selects nothing.
	Mirrors    []MirrorConfig
	SetMirrors bool

	// Filters and Sets, if SetFilters is true, are the filters and sets after the change; a rule
	// keeps its counters as long as it and its filter keep their names. Otherwise, the present ones
	// stay.
	Filters    []FilterConfig
	Sets       []SetConfig
	SetFilters bool

	// Neighbors, if SetNeighbors is true, are the configured neighbors after the change. Otherwise,
	// the present ones stay.
	Neighbors    []Neighbor
	SetNeighbors bool
}

// A Reconfiguration is the new configuration of a port that stays attached; the name may change,
// too. The port keeps its counters if Config.Counters is nil, and its Port if Port is nil.
type Reconfiguration struct {
	Attachment *Attachment
	Config     PortConfig
	Port       Port
}

// A NewPort is a port to be attached. Local are addresses that the host has on its interface, as in
// Attachment.SetLocal, except that the change is refused if one of them is pinned to another port.
type NewPort struct {
	Config PortConfig
	Port   Port
	Local  []MAC
}

// A StaticEntry is an FDB entry that an operator has configured.
type StaticEntry struct {
	MAC  MAC
	VLAN uint16
	Port string  // the name of a port after the change; "" for FDBBlackhole
	Kind FDBKind // FDBStatic, the zero value, FDBSticky or FDBBlackhole
	All  bool    // of FDBBlackhole: in every VLAN; VLAN is 0
}

// check checks what can be checked without the switch.
func (e *StaticEntry) check() error {
	switch {
	case !e.MAC.IsUnicast():
		return fmt.Errorf("%w: %s", ErrBadMAC, e.MAC)
	case e.VLAN > maxVID:
		return fmt.Errorf("%w: %d", ErrBadVLAN, e.VLAN)
	case e.Kind == FDBBlackhole && e.Port != "":
		return fmt.Errorf("%w: a blackhole has no port", ErrBadEntry)
	case e.All && (e.Kind != FDBBlackhole || e.VLAN != 0):
		return fmt.Errorf("%w: only a blackhole can be in every VLAN", ErrBadEntry)
	}
	return nil
}

// key returns the key of the entry.
func (e *StaticEntry) key() fdbKey {
	if e.All {
		return e.MAC.addr().everywhere()
	}
	return makeKey(e.MAC.addr(), e.VLAN)
}

// where names the entry's address and VLAN in errors.
func (e *StaticEntry) where() string { return fmt.Sprintf("%s in %s", e.MAC, vlanName(e.key())) }

// A ChangeError says which part of a Change is refused.
type ChangeError struct {
	// One of these names what is refused. If all of them are "", what Static says is.
	Port   string // by its name after the change
	Mirror string
	Filter string
	Set    string

	Rule int    // of a filter: the rule, as an index; -1: the filter itself
	Key  string // the setting, by its key in the configuration file; "": not known, or the whole
	Err  error

	// The static entry, as an index into Change.Static; with Group, the static member, as one into
	// Change.Groups, and with Neighbor, the neighbor, as one into Change.Neighbors.
	Static   int
	Group    bool
	Neighbor bool
}

func (e *ChangeError) Error() string {
	what := "static entry"
	switch {
	case e.Mirror != "":
		what = "mirror " + e.Mirror
	case e.Filter != "" && e.Rule >= 0:
		what = fmt.Sprintf("filter %s: rule %d", e.Filter, e.Rule+1)
	case e.Filter != "":
		what = "filter " + e.Filter
	case e.Set != "":
		what = "set " + e.Set
	case e.Group:
		what = "static member"
	case e.Neighbor:
		what = "neighbor"
	case e.Port != "":
		what = "port " + e.Port
	}
	return what + ": " + e.Err.Error()
}

func (e *ChangeError) Unwrap() error { return e.Err }

// Apply makes a change as a whole, or returns why the change cannot be made and changes nothing.
// The error joins a *ChangeError for each port and static entry that is refused, and an error that
// wraps ErrTableFull if there are too many static entries.
//
// A static entry that exists before and after the change exists all the time, even if its port
// changes. The entries learned from a port that stays are kept, except in VLANs that the port no
// longer carries. New ports are down; see SetUp. They are returned in the order of Attach.
//
// When Apply returns, no frame is handled by the old configuration any more, no Transmit is running
// on a port that was detached, and none will be called. Apply waits for every Deliver that is
// running. So it must not be called from inside a Deliver, nor with a lock held that a Transmit
// takes.
func (s *Switch) Apply(c *Change) ([]*Attachment, error) {
	x := &transaction{sw: s, keepStatic: c.KeepStatic, mcast: c.Mcast, fdb: c.FDB, loop: c.Loop}
	if c.SetFilters {
		s.filterMu.Lock()
		defer s.filterMu.Unlock()
	}
	x.check(c)
	if err := x.err(); err != nil {
		return nil, err
	}
	if err := x.commit(); err != nil {
		return nil, err
	}
	s.synchronize()
	var attached []*Attachment
	for _, p := range x.ports {
		switch {
		case p.fresh:
			attached = append(attached, p.att)
		default:
			p.att.forgetForeign(&p.view.vlan)
			s.mdb.reconfigured(p.view)
		}
	}
	s.endForbiddenBlocks()
	// From now on, no Deliver can have an answer from the FDB that names a detached port.
	s.mu.Lock()
	for _, a := range x.detach {
		s.ids[a.id] = false
		s.neigh.Load().forget(a.id)
	}
	s.forgetMirrorOutputs()
	s.mu.Unlock()
	return attached, nil
}

// Check returns the error of applying a change to a new switch with this configuration. Ports of
// the change may be nil.
func Check(cfg Config, c *Change) error {
	_, err := newSwitch(cfg).Apply(c)
	return err
}

// A transaction is a Change that is being applied.
type transaction struct {
	sw         *Switch
	detach     []*Attachment
	ports      []*changedPort // reconfigured or new
	static     []StaticEntry
	keepStatic bool
	mcast      *McastConfig
	groups     []StaticGroup
	setGroups  bool
	fdb        *FDBConfig
	loop       *LoopConfig
	neighbors  []Neighbor
	setNeigh   bool
	mirrors    []MirrorConfig
	setMirrors bool
	filters    *filterTable // nil: as before
	errs       []error
}

// A changedPort is a port that is reconfigured or attached.
type changedPort struct {
	att   *Attachment
	fresh bool
	view  *portView // after the change

	// For SetLocal: only the host's addresses change, to view.local and view.spare.
	onlyLocal bool
}

func (x *transaction) refuse(port string, err error) {
	refused := &ChangeError{Port: port, Err: err}
	var setting *settingError
	if errors.As(err, &setting) {
		refused.Key = setting.key
	}
	x.errs = append(x.errs, refused)
}

// A settingError is an error about one setting of a port, which key names as the configuration file
// does.
type settingError struct {
	key string
	error
}

func (e *settingError) Unwrap() error { return e.error }

func (x *transaction) err() error { return errors.Join(x.errs...) }

// check checks what does not depend on the state of the switch.
func (x *transaction) check(c *Change) {
	x.detach, x.static = slices.Clone(c.Detach), c.Static
	x.mirrors, x.setMirrors = c.Mirrors, c.SetMirrors
	x.groups, x.setGroups = c.Groups, c.SetGroups
	for i := range x.mirrors {
		x.mirrors[i].check(x.refuseMirror(&x.mirrors[i]))
	}
	if c.SetFilters {
		x.filters = x.compileFilters(c.Filters, c.Sets, x.sw.filters)
	}
	x.neighbors, x.setNeigh = slices.Clone(c.Neighbors), c.SetNeighbors
	for i := range x.neighbors {
		if err := x.neighbors[i].check(); err != nil {
			x.errs = append(x.errs, &ChangeError{Neighbor: true, Static: i, Err: err})
		}
	}
	for _, r := range c.Reconfigure {
		v, err := checkPort(r.Config)
		if err != nil {
			x.refuse(r.Config.Name, err)
			continue
		}
		v.port = r.Port
		x.ports = append(x.ports, &changedPort{att: r.Attachment, view: v})
	}
	for _, n := range c.Attach {
		v, err := checkPort(n.Config)
		if err != nil {
			x.refuse(n.Config.Name, err)
			continue
		}
		if v.cfg.Counters == nil {
			v.cfg.Counters = new(Counters)
		}
		a := &Attachment{sw: x.sw, mcast: &mcastPort{counters: v.cfg.Counters, name: v.cfg.Name}}
		v.att, v.port, v.mcast, v.counters, v.local = a, n.Port, a.mcast, v.cfg.Counters, n.Local
		x.ports = append(x.ports, &changedPort{att: a, fresh: true, view: v})
	}
	for i, e := range x.static {
		err := e.check()
		if err == nil && e.Kind == FDBDynamic {
			err = fmt.Errorf("%w: a learned entry cannot be configured", ErrBadEntry)
		}
		if err != nil {
			x.errs = append(x.errs, &ChangeError{Static: i, Err: err})
		}
	}
	if x.mcast != nil {
		if err := x.mcast.Querier.check(); err != nil {
			x.errs = append(x.errs, err)
		}
	}
	for i := range x.groups {
		if err := x.groups[i].check(); err != nil {
			x.errs = append(x.errs, &ChangeError{Group: true, Static: i, Err: err})
		}
	}
}

// commit checks what depends on the state of the switch, and makes the change.
func (x *transaction) commit() error {
	s, t := x.sw, x.sw.fdb
	s.mu.Lock()
	defer s.mu.Unlock()
	x.detach = slices.DeleteFunc(x.detach, func(a *Attachment) bool { return a.detached })
	names := x.names()
	x.giveIDs()
	for _, p := range x.ports {
		p.view.limit(p.att.view)
	}
	mirrors := s.mirrors
	if x.setMirrors {
		mirrors = x.checkMirrors(x.mirrors, s.mirrors, names)
	}
	groups := x.planGroups(names)
	x.checkFilterNames(names, mirrors)
	if err := x.err(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	plan := x.plan(names)
	if err := x.err(); err != nil {
		return err
	}
	for _, p := range x.ports {
		if p.fresh {
			p.view.fdb = t.openPort(p.view.id, p.view.cfg.MaxMACs, p.view.counters)
			p.view.fdb.name = p.view.cfg.Name
		}
	}
	if err := t.rewrite(plan); err != nil {
		for _, p := range x.ports {
			if p.fresh {
				t.closePort(p.view.fdb)
			}
		}
		return err
	}
	for _, p := range x.ports {
		if p.fresh {
			s.ids[p.view.id] = true
			p.att.id, p.att.fdb, p.att.mcast.id = p.view.id, p.view.fdb, p.view.id
			p.att.loop.init(s.attached)
			s.attached++
		} else {
			p.view.fdb.max.Store(int32(p.view.cfg.MaxMACs))
			p.view.fdb.counters, p.view.fdb.name = p.view.counters, p.view.cfg.Name
		}
		p.att.view = p.view
	}
	for _, a := range x.detach {
		a.detached = true
		t.closePort(a.fdb)
		s.mdb.setOpen(a.mcast, false)
	}
	x.keepSticky(names)
	if x.fdb != nil {
		t.configure(*x.fdb)
	}
	if x.loop != nil {
		s.loop = *x.loop
	}
	if x.mcast != nil {
		s.mcast = *x.mcast
		s.mdb.configure(s.mcast.Snooping)
	}
	s.names, s.mirrors, s.groups = names, mirrors, groups
	if x.filters != nil {
		s.filters = x.filters
	}
	s.mdb.fix(groups)
	s.mdb.setQueriers(s.mcast.Querier, s.queriedVLANs())
	if x.setNeigh {
		s.neighbors = x.neighbors
	}
	s.publish()
	return nil
}

// names returns the ports by their names after the change. It completes the views of ports that are
// reconfigured. Needs Switch.mu.
func (x *transaction) names() map[string]*Attachment {
	names := make(map[string]*Attachment, len(x.sw.names))
	for name, a := range x.sw.names {
		names[name] = a
	}
	for _, a := range x.detach {
		delete(names, a.view.cfg.Name)
	}
	for _, p := range x.ports {
		if p.fresh {
			continue
		}
		was := p.att.view
		if p.att.detached || slices.Contains(x.detach, p.att) {
			x.refuse(p.view.cfg.Name, ErrDetached)
			continue
		}
		v := *was
		if p.onlyLocal {
			v.local, v.spare = p.view.local, p.view.spare
		} else {
			v.cfg, v.vlan = p.view.cfg, p.view.vlan
			v.guard, v.passed = p.view.guard, p.view.passed
			v.from, v.to = p.view.from, p.view.to
			if p.view.port != nil {
				v.port = p.view.port
			}
		}
		if v.cfg.Counters == nil {
			v.cfg.Counters = was.cfg.Counters
		}
		v.counters = v.cfg.Counters
		p.view = &v
		if names[was.cfg.Name] == p.att {
			delete(names, was.cfg.Name)
		}
	}
	for _, p := range x.ports {
		name := p.view.cfg.Name
		if names[name] != nil {
			x.refuse(name, ErrPortExists)
			continue
		}
		names[name] = p.att
	}
	return names
}

// giveIDs assigns free ids to new ports. Needs Switch.mu.
func (x *transaction) giveIDs() {
	id := 0
	for _, p := range x.ports {
		if !p.fresh {
			continue
		}
		for id < maxPorts && x.sw.ids[id] {
			id++
		}
		if id == maxPorts {
			x.refuse(p.view.cfg.Name, ErrTooManyPorts)
			return
		}
		p.view.id = portID(id)
		id++
	}
}

// A fixture is the port and the kind that a static or pinned entry is to have.
type fixture struct {
	port *portView
	kind entryKind
}

// keepSticky stores the sticky entries of the change with their ports, so that SetUp can make them
// again. Needs Switch.mu.
func (x *transaction) keepSticky(names map[string]*Attachment) {
	if x.keepStatic {
		return
	}
	for _, a := range names {
		a.sticky = nil
	}
	for _, e := range x.static {
		if e.Kind == FDBSticky {
			names[e.Port].sticky = append(names[e.Port].sticky, e.key())
		}
	}
}

// A rewriting is a plan of changes to the static and pinned entries of the FDB.
type rewriting struct {
	want   map[fdbKey]fixture
	single map[addr][]fdbKey // keys in want for single VLANs, by address
	stale  []fdbKey          // entries to be removed
}

// plan works out the static and pinned entries. Needs both mutexes.
func (x *transaction) plan(names map[string]*Attachment) *rewriting {
	t := x.sw.fdb
	plan := &rewriting{want: make(map[fdbKey]fixture), single: make(map[addr][]fdbKey)}
	changed := make(map[*fdbPort]bool) // ports whose entries stay only if the plan wants them
	for _, a := range x.detach {
		changed[a.fdb] = true
	}
	views := make(map[*Attachment]*portView)
	for _, p := range x.ports {
		views[p.att] = p.view
		if !p.fresh {
			changed[p.att.fdb] = true
		}
	}
	for _, p := range x.ports {
		x.pin(plan, p.view, changed)
	}
	hole := &portView{fdb: t.ports[blackhole]}
	for i, e := range x.static {
		k, a := e.key(), names[e.Port]
		switch {
		case a == nil && e.Kind != FDBBlackhole:
			x.errs = append(x.errs, &ChangeError{Static: i, Err: fmt.Errorf("%w: %s", ErrNoPort, e.Port)})
			continue
		case plan.pins(t, k, changed):
			x.errs = append(x.errs, &ChangeError{Static: i, Err: fmt.Errorf("%w: %s", ErrAddressPinned, e.where())})
			continue
		}
		v := hole
		if a != nil {
			if v = views[a]; v == nil {
				v = a.view
			}
		}
		plan.want[k] = fixture{v, e.Kind.entry()}
	}
	x.findStale(plan, changed)
	return plan
}

// rewrite changes the static and pinned entries to those that the plan wants. If it fails, it
// restores them; learned entries may have been removed. Needs mu.
func (t *fdb) rewrite(plan *rewriting) error {
	var undo []func()
	for k, f := range plan.want {
		if s, kind, p := t.get(k); p != nil && kind != entryDynamic {
			byHand := t.cold[s].byHand
			if k.isEverywhere() && kind != f.kind { // a blackhole leaves single VLANs to other entries
				t.forgetLearned(k.addr().station())
			}
			t.assign(s, f.port.fdb, f.kind)
			undo = append(undo, func() {
				t.assign(s, p, kind)
				t.mark(k, byHand)
			})
		}
	}
	for _, k := range plan.stale {
		s, kind, p := t.get(k)
		byHand := t.cold[s].byHand
		t.note(RecordRemoved, s)
		t.remove(s)
		undo = append(undo, func() { // there was room before
			_ = t.setEntry(k, p, kind)
			t.mark(k, byHand)
		})
	}
	for k, f := range plan.want {
		if _, kind, p := t.get(k); p != nil && kind != entryDynamic {
			continue
		}
		if f.kind != entrySpare && k.isEverywhere() {
			t.forgetLearned(k.addr().station())
		}
		if err := t.setEntry(k, f.port.fdb, f.kind); err != nil {
			for _, back := range slices.Backward(undo) {
				back()
			}
			return err
		}
		undo = append(undo, func() {
			s, _, _ := t.get(k)
			t.note(RecordRemoved, s)
			t.remove(s)
		})
	}
	return nil
}
