package vswitch

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Static members of groups: those that an operator has configured.

// Errors about static members of groups.
var (
	ErrBadGroup    = errors.New("not a group that ports can be members of")
	ErrBadSource   = errors.New("not the address of a source of the group")
	ErrGroupExists = errors.New("port is a static member already")
	ErrNoGroup     = errors.New("no such static member")
)

// A StaticGroup says that a port is a member of a group for good, whatever is reported from behind
// the port.
type StaticGroup struct {
	Group  netip.Addr `json:"group"`
	VLAN   uint16     `json:"vlan"`
	Port   string     `json:"port"`   // the name of a port; in a Change, after the change
	Source netip.Addr `json:"source"` // the port gets what comes from this source alone; invalid: from all sources
}

// String describes the entry in errors.
func (e *StaticGroup) String() string {
	if e.Source.IsValid() {
		return fmt.Sprintf("%v from %v in VLAN %d at %s", e.Group, e.Source, e.VLAN, e.Port)
	}
	return fmt.Sprintf("%v in VLAN %d at %s", e.Group, e.VLAN, e.Port)
}

// CheckGroup returns an error that wraps ErrBadGroup if ports cannot be members of a group: if its
// address is not a multicast address, or if frames to it go to all ports.
func CheckGroup(group netip.Addr) error {
	g := groupOf(group)
	switch {
	case group.Zone() != "" || group.Is4In6() || !g.isMulticast():
		return fmt.Errorf("%w: %v is not a multicast address", ErrBadGroup, group)
	case g.isLocal():
		return fmt.Errorf("%w: frames to %v, a link-local group, go to all ports", ErrBadGroup, group)
	}
	return nil
}

// CheckSource returns an error that wraps ErrBadSource if an address cannot be that of a source of
// a group.
func CheckSource(source, group netip.Addr) error {
	if source.BitLen() != group.BitLen() || source.Zone() != "" || source.Is4In6() || source.IsUnspecified() || source.IsMulticast() {
		return fmt.Errorf("%w: %v", ErrBadSource, source)
	}
	return nil
}

// check checks what can be checked without the switch.
func (e *StaticGroup) check() error {
	if err := CheckGroup(e.Group); err != nil {
		return err
	}
	if e.Source.IsValid() {
		if err := CheckSource(e.Source, e.Group); err != nil {
			return err
		}
	}
	if e.VLAN > maxVID {
		return fmt.Errorf("%w: %d", ErrBadVLAN, e.VLAN)
	}
	return nil
}

// groupOf converts an address; an invalid one becomes the zero value.
func groupOf(a netip.Addr) groupAddr {
	switch {
	case a.Is4():
		b := a.As4()
		return group4(b[:])
	case a.Is6():
		b := a.As16()
		return group6(b[:])
	}
	return groupAddr{}
}

// A staticMember is a StaticGroup whose port has been found.
type staticMember struct {
	key    mdbKey
	source groupAddr // zero: all
	att    *Attachment
	byHand bool // from AddGroup, not from a Change
}

// member returns the member that e describes, with its port after a change that results in names.
func (e *StaticGroup) member(names map[string]*Attachment) (m staticMember, err error) {
	a := names[e.Port]
	if a == nil {
		return m, fmt.Errorf("%w: %s", ErrNoPort, e.Port)
	}
	return staticMember{key: mdbKey{groupOf(e.Group), e.VLAN}, source: groupOf(e.Source), att: a}, nil
}

// covers reports whether one of two members says all that the other one says.
func (m *staticMember) covers(o *staticMember) bool {
	return m.key == o.key && m.att == o.att && (m.source == o.source || m.source == groupAddr{} || o.source == groupAddr{})
}

func covered(list []staticMember, m *staticMember) bool {
	return slices.ContainsFunc(list, func(o staticMember) bool { return m.covers(&o) })
}

// AddGroup adds a static member. It stays until DelGroup, or until its port is detached. If the
// port has the group already, from all sources or from this one, the error wraps ErrGroupExists; so
// it does if a port is to have all sources that has one of them.
func (s *Switch) AddGroup(e StaticGroup) error {
	if err := e.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := e.member(s.names)
	if err != nil {
		return err
	}
	if covered(s.groups, &m) {
		return fmt.Errorf("%w: %s", ErrGroupExists, &e)
	}
	m.byHand = true
	s.groups = append(s.groups, m)
	s.mdb.fix(s.groups)
	return nil
}

// DelGroup removes a static member. Whether the port is a member because of what is reported from
// behind it does not change.
func (s *Switch) DelGroup(e StaticGroup) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := e.member(s.names)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.groups, func(o staticMember) bool {
		return o.key == m.key && o.source == m.source && o.att == m.att
	})
	if i < 0 {
		return fmt.Errorf("%w: %s", ErrNoGroup, &e)
	}
	s.groups = slices.Delete(s.groups, i, i+1)
	s.mdb.fix(s.groups)
	return nil
}

// planGroups works out the static members after a change. Needs Switch.mu.
func (x *transaction) planGroups(names map[string]*Attachment) (list []staticMember) {
	for i := range x.groups {
		e := &x.groups[i]
		refuse := func(err error) {
			x.errs = append(x.errs, &ChangeError{Group: true, Static: i, Err: err})
		}
		switch m, err := e.member(names); {
		case err != nil:
			refuse(err)
		case covered(list, &m):
			refuse(fmt.Errorf("%w: %s", ErrGroupExists, e))
		default:
			list = append(list, m)
		}
	}
	for _, m := range x.sw.groups {
		gone := m.att.detached || slices.Contains(x.detach, m.att)
		if !gone && (m.byHand || !x.setGroups) && !covered(list, &m) {
			list = append(list, m)
		}
	}
	return list
}

// A fixedMember is a static member of a group.
type fixedMember struct {
	port   *mcastPort
	source groupAddr // zero: all
}

// fix makes the members in list the static ones. Needs Switch.mu.
func (m *mdb) fix(list []staticMember) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.table == nil || len(list)+m.fixed == 0 {
		return // static members wait until snooping is turned on
	}
	m.noteFixed(list)
	stale := make(map[*mdbGroup]bool)
	for _, g := range m.list {
		if g.fixed != nil {
			g.fixed = nil
			stale[g] = true
		}
	}
	for i := range list {
		e := &list[i]
		g := m.group(e.key)
		g.fixed = append(g.fixed, fixedMember{e.att.mcast, e.source})
		stale[g] = true
	}
	for g := range stale {
		m.publish(g)
		m.discardEmpty(g)
	}
	m.fixed = len(list)
}
