package vswitch_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
)

// The model's neighbor suppression (RFC 9161; RFC 826; RFC 4861).

type neighborKey struct {
	ip   netip.Addr
	vlan uint16
}

// A modelNeighbor is a learned entry.
type modelNeighbor struct {
	mac             vswitch.MAC
	port            string
	guarded, router bool
	seen            int
	changed         int // second in which the address had another MAC address; 0: never
}

func (n modelNeighbor) live(now int) bool { return now-n.seen <= 1200 }

func (n modelNeighbor) usable(now int) bool {
	return n.live(now) && (n.changed == 0 || now-n.changed >= 60)
}

// suppresses reports whether a port has the flag: otherwise there is no table.
func (m *model) suppresses() bool {
	for _, p := range m.ports {
		if p.cfg.NeighSuppress {
			return true
		}
	}
	return false
}

// station reports whether an address can be that of a station.
func station(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() }

// configured returns the configured entry of an address in a VLAN, unless those of the highest rank
// contradict each other.
func (m *model) configured(k neighborKey) (mac vswitch.MAC, router, ok bool) {
	type entry struct {
		mac    vswitch.MAC
		router bool
	}
	ranks := make([][]entry, 4)
	for _, n := range m.neighbors {
		switch {
		case n.IP != k.ip:
		case n.All:
			ranks[2] = append(ranks[2], entry{n.MAC, n.Router})
		case n.VLAN == k.vlan:
			ranks[3] = append(ranks[3], entry{n.MAC, n.Router})
		}
	}
	for _, p := range m.ports {
		if len(p.cfg.MACs) == 1 && p.carries(k.vlan) && slices.Contains(p.cfg.Guards.AllowedIPs, netip.PrefixFrom(k.ip, k.ip.BitLen())) {
			ranks[1] = append(ranks[1], entry{p.cfg.MACs[0], false})
		}
	}
	for _, list := range slices.Backward(ranks) {
		if len(list) == 0 {
			continue
		}
		same := !slices.ContainsFunc(list, func(e entry) bool { return e.mac != list[0].mac })
		return list[0].mac, list[0].router, same
	}
	return mac, false, false
}

// whereIs returns the port of a station.
func (m *model) whereIs(mac vswitch.MAC, vlan uint16) string {
	e, _ := m.fdb.find(mac, vlan)
	return e.port
}

// hear learns from a message about a neighbor.
func (m *model) hear(from string, f modelFrame, c neighborClaim) {
	k := neighborKey{c.ip, f.vlan}
	if _, _, known := m.configured(k); known || !station(c.ip) || c.mac == (vswitch.MAC{}) || m.whereIs(c.mac, f.vlan) != from {
		return
	}
	allowed := slices.ContainsFunc(m.ports[from].cfg.Guards.AllowedIPs, func(p netip.Prefix) bool { return p.Contains(c.ip) })
	next := modelNeighbor{mac: c.mac, port: from, guarded: allowed, router: c.router, seen: m.now}
	if was, ok := m.learned[k]; ok {
		if !c.routerIs {
			next.router = was.router
		}
		next.changed = was.changed
		if was.live(m.now) && was.mac != c.mac {
			if c.weak || was.guarded && !allowed {
				return
			}
			next.changed = m.now
		}
	}
	m.learned[k] = next
}

// A neighborClaim is what a message says about its sender.
type neighborClaim struct {
	ip                     netip.Addr
	mac                    vswitch.MAC
	router, routerIs, weak bool
}

// suppress learns from a message about neighbors, and answers it if the switch is to. known is true
// if ports with neigh_suppress are not to be sent the frame; reply is the answer.
func (m *model) suppress(from string, f modelFrame, flooded bool) (known bool, reply []byte) {
	if !m.suppresses() || f.more {
		return false, nil
	}
	p := gopacket.NewPacket(f.bare(), layers.LayerTypeEthernet, gopacket.NoCopy)
	if a, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		return m.suppressARP(from, f, a, flooded)
	}
	if f.says.nd != nil && len(f.raw) == len(f.says.whole) {
		return m.suppressND(from, f, f.says.nd, flooded)
	}
	return false, nil
}

func (m *model) suppressARP(from string, f modelFrame, a *layers.ARP, flooded bool) (known bool, reply []byte) {
	sender, target := netip.AddrFrom4([4]byte(a.SourceProtAddress)), netip.AddrFrom4([4]byte(a.DstProtAddress))
	mac := vswitch.MAC(a.SourceHwAddress)
	m.hear(from, f, neighborClaim{ip: sender, mac: mac})
	if a.Operation != layers.ARPRequest || sender == target || !flooded || f.dst != broadcast {
		return false, nil
	}
	owner, _, known, answers := m.resolve(from, f, target, mac)
	if !answers {
		return known, nil
	}
	b := serialize(&layers.Ethernet{SrcMAC: owner[:], DstMAC: mac[:], EthernetType: layers.EthernetTypeARP}, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
		SourceHwAddress: owner[:], SourceProtAddress: target.AsSlice(), DstHwAddress: mac[:], DstProtAddress: sender.AsSlice(),
	})
	return known, b[:42] // without padding
}

func (m *model) suppressND(from string, f modelFrame, nd *neighborMessage, flooded bool) (known bool, reply []byte) {
	mac := nd.mac
	if nd.verb == "probes" || nd.bare {
		mac = vswitch.MAC{}
	}
	src := nd.from
	switch nd.verb {
	case "claims", "tells":
		m.hear(from, f, neighborClaim{ip: nd.ip, mac: mac, router: nd.router, routerIs: true, weak: nd.weak})
		return false, nil
	case "advertises":
		m.hear(from, f, neighborClaim{ip: nd.ip, mac: mac, router: true, routerIs: true})
		return false, nil
	case "asks":
		m.hear(from, f, neighborClaim{ip: src, mac: mac})
	}
	if !flooded || f.dst[0]&1 == 0 {
		return false, nil
	}
	asker := mac
	if mac == (vswitch.MAC{}) {
		asker = f.src
	}
	owner, router, known, answers := m.resolve(from, f, nd.ip, asker)
	if !answers {
		return known, nil
	}
	dst, flags := src, uint8(0x60)
	if !src.IsValid() || src.IsUnspecified() {
		asker, dst, flags = vswitch.MAC{0x33, 0x33, 0, 0, 0, 1}, netip.MustParseAddr("ff02::1"), 0x20
	}
	if router {
		flags |= 0x80
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: nd.ip.AsSlice(), DstIP: dst.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)}
	must(0, icmp.SetNetworkLayerForChecksum(ip))
	buf := gopacket.NewSerializeBuffer()
	must(0, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: owner[:], DstMAC: asker[:], EthernetType: layers.EthernetTypeIPv6}, ip, icmp,
		&layers.ICMPv6NeighborAdvertisement{Flags: flags, TargetAddress: nd.ip.AsSlice(), Options: layers.ICMPv6Options{
			{Type: layers.ICMPv6OptTargetAddress, Data: owner[:]},
		}}))
	return known, slices.Clone(buf.Bytes())
}

// resolve returns who has an address, about which the station with another address asks. answers is
// true if the switch is to answer.
func (m *model) resolve(from string, f modelFrame, ip netip.Addr, asker vswitch.MAC) (mac vswitch.MAC, router, known, answers bool) {
	k := neighborKey{ip, f.vlan}
	if mac, router, known = m.configured(k); !known {
		n := m.learned[k]
		if mac, router, known = n.mac, n.router, n.mac != (vswitch.MAC{}) && n.usable(m.now); !known {
			return mac, false, false, false
		}
	}
	name := m.whereIs(mac, f.vlan)
	owner := m.ports[name]
	if owner == nil || !owner.up || m.isOutput(name) {
		return mac, false, false, false
	}
	back := name != from || owner.cfg.Hairpin
	answers = mac != asker && back && owner.cfg.NeighSuppress && !apart(m.ports[from], owner) && owner.gets(f)
	return mac, router, true, answers
}

// answer sends replies to the port from which the requests have come. They have the tag of the
// request.
func (m *model) answer(to string, requests []modelFrame, replies [][]byte) {
	p := m.ports[to]
	var all []modelFrame
	for i, b := range replies {
		f := requests[i]
		f.more, f.customer = false, 0
		if f.raw = b; f.tagged {
			f.raw = slices.Concat(b[:12], requests[i].raw[12:16], b[12:])
		}
		f.dst, f.src = vswitch.MAC(b[:6]), vswitch.MAC(b[6:12])
		f.says = &modelMessage{whole: f.raw, bytes: f.raw}
		all = append(all, f)
	}
	m.did["replies"] += len(replies)
	sent := m.afford(p, m.filter(p, p.cfg.EgressFilter, all))
	for _, f := range sent {
		p.sent = append(p.sent, p.shaped(f))
	}
	copied := m.copied
	m.beginMirrors() // replies are a batch of their own
	m.mirrorTo(to, to, sent)
	m.copied = copied
}

// compareNeighbors compares the learned entries.
func (m *model) compareNeighbors(t *testing.T, l *lab) {
	want := make(map[string]bool)
	for k, n := range m.learned {
		if n.live(m.now) {
			want[fmt.Sprint(k.ip, k.vlan, n.mac, n.router, n.guarded, m.now-n.seen)] = true
		}
	}
	got := 0
	for _, n := range l.s.Neighbors(vswitch.AnyVLAN) {
		if !n.Learned {
			continue
		}
		got++
		if s := fmt.Sprint(n.IP, n.VLAN, n.MAC, n.Router, n.Guarded, int(n.Age.Seconds())); !want[s] {
			t.Errorf("a neighbor too many: %s", s)
		}
	}
	if got != len(want) {
		t.Errorf("%d neighbors, want %d", got, len(want))
	}
}
