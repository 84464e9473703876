package config

import (
	"net/netip"

	"vswitchd/internal/config/key"
	"vswitchd/internal/nearest"
	vswitch "vswitchd/switch"
)

// An MDBEntry is a static member of a multicast group. If the file does not name a VLAN, VLAN is
// that of the port's untagged frames. Port is the name of a port of the same configuration.
type MDBEntry struct {
	vswitch.StaticGroup

	where where
}

// Errorf returns an error about a key of this entry, or about the entry itself if key is empty.
func (e *MDBEntry) Errorf(key, format string, args ...any) Error {
	return e.where.errorf(key, format, args...)
}

func (e *MDBEntry) keys() []key.Key {
	return []key.Key{
		{Name: "group", Value: key.IP(&e.Group, vswitch.CheckGroup), Required: true, Example: `"239.1.1.1"`,
			Doc: "the address of the group; link-local groups have no members, since frames to them go to all ports"},
		{Name: "vlan", Value: key.Int(&e.VLAN, 0, 4095), Default: "that of the port's untagged frames", Doc: "the VLAN in which it is"},
		{Name: "port", Value: key.Text(&e.Port), Required: true, Example: `"vm1"`, Doc: "the name of the port that gets the group's frames"},
		{Name: "source", Value: key.OptionalIP(&e.Source, nil),
			Doc: `the port gets what comes from this address alone; "": from all`},
	}
}

func (p *parser) mdbEntry(t *table) {
	var e MDBEntry
	e.where = t.where()
	t.read(e.keys(), nil)
	p.cfg.MDB = append(p.cfg.MDB, e)
}

// checkMembers does for static members what checkEntries does for static entries of the FDB, and
// reports members that are there already.
func (p *parser) checkMembers() {
	type place struct {
		group netip.Addr
		vlan  uint16
		port  string
	}
	first := map[place][]*MDBEntry{}
	for i := range p.cfg.MDB {
		e := &p.cfg.MDB[i]
		bad := !p.checkMember(e)
		at := place{e.Group, e.VLAN, e.Port}
		for _, o := range first[at] {
			if o.Source == e.Source || !o.Source.IsValid() || !e.Source.IsValid() {
				p.errs = append(p.errs, e.Errorf("group", "%s gets %v in VLAN %d already, by %s", e.Port, e.Group, e.VLAN, o.where.path))
				bad = true
				break
			}
		}
		if !bad {
			first[at] = append(first[at], e)
		}
	}
	if len(p.cfg.MDB) > 0 && !p.cfg.Switch.McastSnooping {
		p.cfg.Warnings = append(p.cfg.Warnings, p.cfg.MDB[0].Errorf("", "has no effect without switch.mcast_snooping"))
	}
}

// checkMember checks one static member, and reports whether it has no errors.
func (p *parser) checkMember(e *MDBEntry) bool {
	before := len(p.errs)
	for _, k := range e.keys() {
		if k.Required && !e.where.has(k.Name) {
			p.errs = append(p.errs, e.Errorf(k.Name, "is missing"))
		}
	}
	if e.Source.IsValid() && e.Group.IsValid() {
		if err := vswitch.CheckSource(e.Source, e.Group); err != nil {
			p.errs = append(p.errs, e.Errorf("source", "%v", err))
		}
	}
	port := p.portNamed(e.Port)
	switch {
	case port == nil && e.Port != "":
		p.errs = append(p.errs, e.Errorf("port", "there is no port or uplink %q%s", e.Port, nearest.Hint(e.Port, p.portNames())))
	case port != nil:
		if !e.where.has("vlan") {
			e.VLAN = port.Tag
		}
		if !carries(&port.PortConfig, e.VLAN) {
			p.cfg.Warnings = append(p.cfg.Warnings, e.Errorf("vlan", "the entry never matches: %s is not in VLAN %d", e.Port, e.VLAN))
		}
	}
	return len(p.errs) == before && e.Group.IsValid() && port != nil
}

// checkQuerier reports settings of the querier that nothing uses.
func (p *parser) checkQuerier() {
	s := &p.cfg.Switch
	if s.McastQuerier.On && !s.McastSnooping {
		p.errs = append(p.errs, s.where.errorf("mcast_querier", "needs mcast_snooping"))
	}
	if len(s.McastQuerier.VLANs) > 0 && !s.McastQuerier.On {
		p.errs = append(p.errs, s.where.errorf("mcast_querier_vlans", "needs mcast_querier"))
	}
}
