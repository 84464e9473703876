package doctor

import (
	"slices"

	"vswitchd/internal/control"
)

// This file has the checks of the network that the ports are in: VLANs and addresses.

// vlanAlone finds ports none of whose VLANs any other port carries.
func vlanAlone(p *patient) *Finding {
	if len(p.c.After.Ports) < 2 || slices.ContainsFunc(p.c.After.Ports, func(o control.PortDetail) bool {
		return o.Name != p.Name && meet(p.PortDetail, &o)
	}) {
		return nil
	}
	return finding(Warning, "no other port carries a VLAN of this port", facts("vlan_mode", p.VLAN.Mode, "tag", p.VLAN.Tag, "trunks", p.VLAN.Trunks),
		"vswitchctl vlan show has the VLANs of all ports", p.set("tag=VLAN")+" moves the port to another VLAN")
}

// meet reports whether two ports carry a common VLAN.
func meet(a, b *control.PortDetail) bool {
	for vlan := range uint16(4096) {
		if carries(a.VLAN, vlan) && carries(b.VLAN, vlan) {
			return true
		}
	}
	return false
}

// carries reports whether a port carries a VLAN; 0 stands for frames without one.
func carries(v control.VLAN, vlan uint16) bool {
	switch v.Mode {
	case "access", "dot1q-tunnel":
		return vlan == v.Tag
	case "trunk":
		return len(v.Trunks) == 0 || slices.Contains(v.Trunks, vlan)
	}
	return vlan == v.Tag || vlan != 0 && (len(v.Trunks) == 0 || slices.Contains(v.Trunks, vlan))
}

func addressesFlap(p *patient) *Finding {
	total, grew := p.addresses("flapped")
	_, held := p.addresses("held")
	if total == 0 {
		return nil
	}
	severity := Note
	if grew+held > 0 {
		severity = Warning
	}
	return finding(severity, "addresses move between this port and others, again and again", facts("flapped", total, "flapped_in_sample", grew, "held_in_sample", held),
		"two stations have one MAC address: vswitchctl fdb show --port "+p.Name+", and compare with the guests' -device mac=",
		"or frames come back by a loop outside of the switch: vswitchctl capture "+p.Name,
		"vswitchctl switch set mac_hold_down=30s keeps such addresses where they are for a while")
}

func addressClaimed(p *patient) *Finding {
	total, grew := p.addresses("static_claims")
	if total == 0 {
		return nil
	}
	severity := Note
	if grew > 0 {
		severity = Warning
	}
	return finding(severity, "the station sends from an address that is pinned to another port", facts("static_claims", total, "in_sample", grew),
		"vswitchctl fdb show --vlan N has the entry; the log names the address",
		"a guest that forges addresses: "+p.set("allowed_macs=MAC")+" drops such frames")
}

func addressesNotLearned(p *patient) *Finding {
	limited, moreLimited := p.addresses("limited")
	full, moreFull := p.addresses("full")
	if limited+full == 0 {
		return nil
	}
	severity := Note
	if moreLimited+moreFull > 0 {
		severity = Warning
	}
	return finding(severity, "addresses behind the port are not learned, so that frames to them are flooded",
		facts("limited", limited, "full", full, "in_sample", moreLimited+moreFull, "max_macs", p.Flags.Get("max_macs"), "learned", p.FDB.Dynamic),
		"limited: "+p.set("max_macs=N")+", if that many stations are behind the port", "full: mac_table_size in [switch], and restart vswitchd")
}

func fdbNearlyFull(c *Case) *Finding {
	s := &c.After.Switch
	if s.FDBSize == 0 || float64(s.FDBEntries) < nearly*float64(s.FDBSize) {
		return nil
	}
	return finding(Warning, "the forwarding database is nearly full: new addresses replace the oldest ones of their port", facts("entries", s.FDBEntries, "size", s.FDBSize, "evicted", s.FDBEvents["evicted"]),
		"mac_table_size in [switch], and restart vswitchd", "a guest that sends from many addresses: vswitchctl port show NAME has the number; max_macs limits it")
}
