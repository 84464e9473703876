package config

import (
	"net/netip"
	"slices"

	vswitch "vswitchd/switch"
)

// Warnings about what is configured and can have no effect.

func (p *parser) checkEffects() {
	p.checkSnoopingIsOn()
	p.checkQuerierVLANs()
	outputs := p.mirrorOutputs()
	for _, port := range p.cfg.Ports {
		p.checkLimits(port)
		const bpdus = 1<<0 | 1<<8
		if port.Guards.BPDU && port.GroupFwdMask&bpdus != 0 {
			p.warn(&port.where, "group_fwd_mask", "bpdu_guard drops BPDUs all the same")
		}
	}
	for i := range p.cfg.FDB {
		p.checkEntryIsUsed(&p.cfg.FDB[i], outputs)
	}
	for i := range p.cfg.MDB {
		e := &p.cfg.MDB[i]
		p.warnOfOutput(&e.where, e.Port, outputs)
	}
	for i := range p.cfg.Neighbors {
		p.checkOwner(&p.cfg.Neighbors[i])
	}
	for _, m := range p.cfg.Mirrors {
		p.checkMirror(m)
	}
	for _, f := range p.cfg.Filters {
		for _, s := range f.Shadowed() {
			rule := f.Rules[s.Rule].Name
			p.cfg.Warnings = append(p.cfg.Warnings, f.Errorf(s.Rule, "name",
				"rule %s never matches: rule %s, before it, matches all that it does", rule, f.Rules[s.By].Name))
		}
	}
}

// warn adds a warning about a key of a table.
func (p *parser) warn(w *where, key, format string, args ...any) {
	p.cfg.Warnings = append(p.cfg.Warnings, w.errorf(key, format, args...))
}

// checkSnoopingIsOn warns about settings of multicast snooping while that is off, and of the
// querier while the switch is none.
func (p *parser) checkSnoopingIsOn() {
	s := &p.cfg.Switch
	querier := []string{"mcast_querier_ipv4", "mcast_querier_ipv6", "mcast_igmp_version", "mcast_mld_version"}
	for _, k := range querier {
		if s.where.has(k) && !s.McastQuerier.On {
			p.warn(&s.where, k, "has no effect without mcast_querier")
		}
	}
	if s.McastSnooping {
		return
	}
	if s.where.has("mcast_unregistered") {
		p.warn(&s.where, "mcast_unregistered", "has no effect without mcast_snooping")
	}
	for _, port := range p.cfg.Ports {
		if port.McastRouter != "" && port.McastRouter != vswitch.McastRouterAuto {
			p.warn(&port.where, "mcast_router", "has no effect without switch.mcast_snooping")
		}
		if port.McastFastLeave {
			p.warn(&port.where, "mcast_fast_leave", "has no effect without switch.mcast_snooping")
		}
	}
}

// checkQuerierVLANs warns about VLANs in which the switch asks nobody.
func (p *parser) checkQuerierVLANs() {
	for _, vlan := range p.cfg.Switch.McastQuerier.VLANs {
		if !p.carried(vlan) {
			p.warn(&p.cfg.Switch.where, "mcast_querier_vlans", "no port is in VLAN %d", vlan)
		}
	}
}

// carried reports whether some port is in a VLAN.
func (p *parser) carried(vlan uint16) bool {
	return slices.ContainsFunc(p.cfg.Ports, func(port *Port) bool { return carries(&port.PortConfig, vlan) })
}

// checkLimits warns about limits of a port that another setting keeps from being reached.
func (p *parser) checkLimits(port *Port) {
	if port.MaxMACs != 0 && !port.Learning {
		p.warn(&port.where, "max_macs", "has no effect without learning")
	}
	all := port.StormControlPPS
	for _, l := range []struct {
		key string
		pps int
	}{
		{"storm_control_pps", all},
		{"storm_control_bcast_pps", port.StormControlBcastPPS},
		{"storm_control_mcast_pps", port.StormControlMcastPPS},
		{"storm_control_unknown_pps", port.StormControlUnknownPPS},
	} {
		switch policed := port.IngressPolicingPPS; {
		case l.pps == 0:
		case policed != 0 && l.pps > policed:
			p.warn(&port.where, l.key, "is never reached: ingress_policing_pps is %d", policed)
		case all != 0 && l.pps > all:
			p.warn(&port.where, l.key, "is never reached: storm_control_pps is %d", all)
		}
	}
}

// mirrorOutputs returns the mirrors by the ports that they have for themselves.
func (p *parser) mirrorOutputs() map[string]string {
	outputs := make(map[string]string)
	for _, m := range p.cfg.Mirrors {
		if m.Output != "" {
			outputs[m.Output] = m.Name
		}
	}
	return outputs
}

// warnOfOutput warns about an entry for a port that is sent nothing but copies.
func (p *parser) warnOfOutput(w *where, port string, outputs map[string]string) {
	if mirror, ok := outputs[port]; ok && port != "" {
		p.warn(w, "port", "%s is the output of mirror %s, and is sent nothing else", port, mirror)
	}
}

// checkEntryIsUsed warns about a static entry whose station cannot be reached, or cannot send.
func (p *parser) checkEntryIsUsed(e *FDBEntry, outputs map[string]string) {
	p.warnOfOutput(&e.where, e.Port, outputs)
	port := p.portNamed(e.Port)
	if port == nil || e.blackhole {
		return
	}
	if allowed := port.Guards.AllowedMACs; len(allowed) > 0 && !slices.Contains(allowed, e.MAC) {
		p.warn(&e.where, "mac", "the station cannot send: %s is not in allowed_macs of %s", e.MAC, e.Port)
	}
}

// checkOwner warns about a neighbor whose address belongs to the guest of a port by the port's
// settings, with another MAC address.
func (p *parser) checkOwner(n *Neighbor) {
	for _, port := range p.cfg.Ports {
		if len(port.MACs) != 1 || port.MACs[0] == n.MAC || !n.All && !carries(&port.PortConfig, n.VLAN) {
			continue
		}
		if n.IP.IsValid() && slices.Contains(port.Guards.AllowedIPs, netip.PrefixFrom(n.IP, n.IP.BitLen())) {
			p.warn(&n.where, "mac", "%v is an allowed address of %s, which has address %s", n.IP, port.where.path, port.MACs[0])
		}
	}
}

// checkMirror warns about what a mirror selects in vain.
func (p *parser) checkMirror(m *Mirror) {
	for _, k := range []string{"select_src", "select_dst"} {
		if m.SelectAll && m.where.has(k) {
			p.warn(&m.where, k, "has no effect with select_all")
		}
	}
	if m.OutputVLAN != 0 && m.Output == "" && !p.carried(m.OutputVLAN) {
		p.warn(&m.where, "output_vlan", "no port is in VLAN %d", m.OutputVLAN)
	}
}
