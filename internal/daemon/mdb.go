package daemon

import (
	"errors"
	"fmt"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// The multicast database: its static members, and the control API.

func staticGroups(entries []config.MDBEntry) (list []vswitch.StaticGroup) {
	for i := range entries {
		list = append(list, entries[i].StaticGroup)
	}
	return list
}

// memberKey returns the key of [[mdb]] that the switch's error is about.
func memberKey(err error) string {
	switch {
	case errors.Is(err, vswitch.ErrNoPort):
		return "port"
	case errors.Is(err, vswitch.ErrBadVLAN):
		return "vlan"
	case errors.Is(err, vswitch.ErrBadSource):
		return "source"
	}
	return "group"
}

// compareMDB returns a line for each static member that is added or removed.
func compareMDB(old, now []config.MDBEntry) []string {
	return compareValues(staticGroups(old), staticGroups(now), func(g vswitch.StaticGroup) string { return "static member " + g.String() })
}

// MDB implements control.Backend.
func (b backend) MDB(vlan int) (info control.MDB) {
	info.Snooping = b.d.sw.Snooping()
	entries, nets := b.d.sw.MDB(anyVLAN(vlan))
	for i := range entries {
		info.Entries = append(info.Entries, mdbEntry(&entries[i]))
	}
	for _, n := range nets {
		e := control.MDBNet{
			VLAN: n.VLAN, IPVersion: 4, ExpiresS: int64(n.Expires.Seconds()), Flooding: !n.Snooping, Own: n.Own, Routers: n.Routers,
		}
		if n.IPv6 {
			e.IPVersion = 6
		}
		if n.Querier.IsValid() {
			e.Querier = n.Querier.String()
		}
		info.Networks = append(info.Networks, e)
	}
	return info
}

func mdbEntry(e *vswitch.MDBEntry) control.MDBEntry {
	entry := control.MDBEntry{
		Group: e.Group.String(), VLAN: e.VLAN, Port: e.Port, Type: "dynamic", ExpiresS: int64(e.Expires.Seconds()),
	}
	if e.Static {
		entry.Type = "static"
	}
	if e.Source.IsValid() {
		entry.Source = e.Source.String()
		entry.Sources = append(entry.Sources, control.MDBSource{Address: entry.Source})
	}
	entry.Mode = "include"
	if e.Exclude {
		entry.Mode = "exclude"
	}
	for _, s := range e.Sources {
		entry.Sources = append(entry.Sources, control.MDBSource{Address: s.Address.String(), Blocked: s.Blocked, ExpiresS: int64(s.Expires.Seconds())})
	}
	return entry
}

// AddMember implements control.Backend.
func (b backend) AddMember(m control.Member) (control.MDBEntry, error) {
	return b.changeMember(m, b.d.sw.AddGroup, "added")
}

// DeleteMember implements control.Backend.
func (b backend) DeleteMember(m control.Member) (control.MDBEntry, error) {
	return b.changeMember(m, b.d.sw.DelGroup, "removed")
}

func (b backend) changeMember(m control.Member, do func(vswitch.StaticGroup) error, what string) (control.MDBEntry, error) {
	g := vswitch.StaticGroup{Group: m.Group, Source: m.Source, Port: m.Port, VLAN: uint16(max(m.VLAN, 0))}
	if m.VLAN < 0 {
		for _, p := range b.d.snapshot() {
			if p.cfg.Name == m.Port {
				g.VLAN = p.cfg.Tag
			}
		}
	}
	switch err := do(g); {
	case errors.Is(err, vswitch.ErrNoPort):
		return control.MDBEntry{}, fmt.Errorf("%w: %q", control.ErrNotFound, m.Port)
	case errors.Is(err, vswitch.ErrNoGroup):
		return control.MDBEntry{}, fmt.Errorf("%w: %s", control.ErrNoMember, &g)
	case err != nil:
		return control.MDBEntry{}, err
	}
	e := mdbEntry(&vswitch.MDBEntry{Group: g.Group, VLAN: g.VLAN, Port: g.Port, Static: true, Source: g.Source, Exclude: !g.Source.IsValid()})
	b.d.log.Info("a static member of a multicast group was "+what+" by hand", "group", e.Group, "source", e.Source, "vlan", e.VLAN, "port", e.Port)
	return e, nil
}
