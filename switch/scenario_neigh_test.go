package vswitch_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
)

// ARP and neighbor discovery in scenarios.

// A neighborMessage is a line about ARP or neighbor discovery: SOURCE asks|probes|claims|tells IP,
// and options.
type neighborMessage struct {
	src, dst, mac vswitch.MAC // mac: of the sender in the message
	verb          string
	ip, from      netip.Addr
	vlan          int
	router, weak  bool
	bare          bool // without a link-layer address option
}

// neighborFrame reads a line, and returns ok false if it is about something else.
func (s *scenario) neighborFrame(words []string) (f testFrame, ok bool) {
	verbs := []string{"asks", "probes", "claims", "tells", "advertises"}
	if len(words) < 3 || !slices.Contains(verbs, words[1]) {
		return f, false
	}
	m := neighborMessage{verb: words[1], src: address(words[0]), ip: must(netip.ParseAddr(words[2])), vlan: -1}
	m.mac = m.src
	spoil, cut := 0, 0
	for i := 3; i < len(words); i++ {
		option := words[i]
		switch option {
		case "router", "weak", "bare":
			m.router, m.weak, m.bare = m.router || option == "router", m.weak || option == "weak", m.bare || option == "bare"
			continue
		}
		i++
		switch value := words[i]; option {
		case "from":
			m.from = must(netip.ParseAddr(value))
		case "to":
			m.dst = address(value)
		case "mac":
			m.mac = address(value)
		case "vlan":
			m.vlan = must(strconv.Atoi(value))
		case "spoil":
			spoil = must(strconv.Atoi(value))
		case "cut":
			cut = must(strconv.Atoi(value))
		default:
			s.t.Fatalf("no option %q of a neighbor's message", option)
		}
	}
	b := m.serialize()
	if spoil > 0 {
		b[len(b)-spoil] ^= 0xff
	}
	f = testFrame{bytes: b[:len(b)-cut], unmarked: true}
	if m.verb == "asks" || m.verb == "probes" {
		f.asks, f.asker = m.ip, m.mac
	}
	return f, true
}

func (m *neighborMessage) serialize() []byte {
	var all []gopacket.SerializableLayer
	if m.ip.Is4() {
		all = m.arp()
	} else {
		all = m.discovery()
	}
	if m.vlan >= 0 {
		eth := all[0].(*layers.Ethernet)
		tag := &layers.Dot1Q{VLANIdentifier: uint16(m.vlan), Priority: 5, Type: eth.EthernetType}
		eth.EthernetType = layers.EthernetTypeDot1Q
		all = slices.Insert(all, 1, gopacket.SerializableLayer(tag))
	}
	buf := gopacket.NewSerializeBuffer()
	must(0, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...))
	b := slices.Clone(buf.Bytes())
	if m.ip.Is4() { // without padding
		b = b[:14+4*(len(all)-2)+28]
	}
	return b
}

func (m *neighborMessage) arp() []gopacket.SerializableLayer {
	dst, op := vswitch.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint16(layers.ARPRequest)
	sender, target, targetMAC := m.from, m.ip, vswitch.MAC{}
	switch m.verb {
	case "probes":
		sender = netip.AddrFrom4([4]byte{})
	case "claims":
		sender = m.ip
	case "tells":
		op, sender, target, targetMAC = layers.ARPReply, m.ip, netip.AddrFrom4([4]byte{10, 0, 0, 250}), m.dst
	}
	if m.dst != (vswitch.MAC{}) {
		dst = m.dst
	}
	return []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: m.src[:], DstMAC: dst[:], EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
			SourceHwAddress: m.mac[:], SourceProtAddress: sender.AsSlice(), DstHwAddress: targetMAC[:], DstProtAddress: target.AsSlice(),
		},
	}
}

// discovery returns a neighbor solicitation or advertisement, or with the verb "advertises" a
// router advertisement.
func (m *neighborMessage) discovery() []gopacket.SerializableLayer {
	target := m.ip.As16()
	src, dst := m.from, netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: target[13], 14: target[14], 15: target[15]})
	kind, option := uint8(layers.ICMPv6TypeNeighborSolicitation), layers.ICMPv6OptSourceAddress
	if !src.IsValid() {
		src = netip.IPv6Unspecified()
	}
	advert := m.verb == "claims" || m.verb == "tells"
	if advert || m.verb == "advertises" {
		kind, option = uint8(layers.ICMPv6TypeNeighborAdvertisement), layers.ICMPv6OptTargetAddress
		src, dst = m.ip, netip.MustParseAddr("ff02::1")
	}
	mac := groupMAC(dst)
	if m.dst != (vswitch.MAC{}) {
		mac, dst = m.dst, netip.MustParseAddr("fd00::fa")
	}
	var options layers.ICMPv6Options
	if m.verb != "probes" && !m.bare {
		options = layers.ICMPv6Options{{Type: option, Data: m.mac[:]}}
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	var body gopacket.SerializableLayer = &layers.ICMPv6NeighborSolicitation{TargetAddress: target[:], Options: options}
	if advert {
		flags := uint8(0x20)
		if m.weak {
			flags = 0
		}
		if m.router {
			flags |= 0x80
		}
		if m.verb == "tells" {
			flags |= 0x40
		}
		body = &layers.ICMPv6NeighborAdvertisement{Flags: flags, TargetAddress: target[:], Options: options}
	}
	if m.verb == "advertises" {
		icmp.TypeCode = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeRouterAdvertisement, 0)
		options[0].Type = layers.ICMPv6OptSourceAddress
		body = &layers.ICMPv6RouterAdvertisement{HopLimit: 64, Options: options}
	}
	must(0, icmp.SetNetworkLayerForChecksum(ip))
	return []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: m.src[:], DstMAC: mac[:], EthernetType: layers.EthernetTypeIPv6}, ip, icmp, body,
	}
}

// An answer is a reply of the switch on behalf of a station.
type answer struct {
	ip    netip.Addr
	mac   vswitch.MAC
	to    vswitch.MAC // the station that asked; zero: all
	notes []string
}

// parseAnswer decodes a reply, and checks that each field is as it has to be.
func (s *scenario) parseAnswer(b []byte) (a answer, ok bool) {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		return a, false
	}
	var all []gopacket.SerializableLayer
	for _, l := range p.Layers() {
		all = append(all, l.(gopacket.SerializableLayer))
	}
	eth := all[0].(*layers.Ethernet)
	if tag, ok := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok {
		a.notes = append(a.notes, fmt.Sprintf("vlan %d", tag.VLANIdentifier))
		if tag.Priority != 0 {
			a.notes = append(a.notes, fmt.Sprintf("pcp %d", tag.Priority))
		}
	}
	if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		a.ip, _ = netip.AddrFromSlice(arp.SourceProtAddress)
		a.mac, a.to = vswitch.MAC(arp.SourceHwAddress), vswitch.MAC(arp.DstHwAddress)
		if arp.Operation != layers.ARPReply || !bytes.Equal(eth.DstMAC, arp.DstHwAddress) {
			s.t.Errorf("not a proper ARP reply: %x", b)
		}
	} else {
		icmp, _ := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		na, _ := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		ip, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		if na == nil || len(na.Options) != 1 {
			return a, false
		}
		a.ip, _ = netip.AddrFromSlice(na.TargetAddress)
		a.mac = vswitch.MAC(na.Options[0].Data)
		if eth.DstMAC[0]&1 == 0 {
			a.to = vswitch.MAC(eth.DstMAC)
		} else if ip.DstIP.String() != "ff02::1" || eth.DstMAC.String() != "33:33:00:00:00:01" {
			s.t.Errorf("not to all nodes: %x", b)
		}
		a.notes = append(a.notes, fmt.Sprintf("to %s", ip.DstIP), fmt.Sprintf("flags %#x", na.Flags))
		if ip.HopLimit != 255 || !ip.SrcIP.Equal(na.TargetAddress) || na.Options[0].Type != layers.ICMPv6OptTargetAddress {
			s.t.Errorf("not a proper advertisement: %x", b)
		}
		must(0, icmp.SetNetworkLayerForChecksum(ip))
	}
	buf := gopacket.NewSerializeBuffer()
	must(0, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...))
	if !bytes.Equal(buf.Bytes()[:len(b)], b) {
		s.t.Errorf("lengths or checksums are wrong:\n%x, want\n%x", b, buf.Bytes())
	}
	if vswitch.MAC(eth.SrcMAC) != a.mac {
		s.t.Errorf("the answer comes from %s, and is about %s", eth.SrcMAC, a.mac)
	}
	return a, true
}

// noteAnswer adds an answer to the fate of the request. It reports false if b is no answer.
func (s *scenario) noteAnswer(port string, b []byte, batch []testFrame, fates [][]string) bool {
	if !slices.ContainsFunc(batch, func(f testFrame) bool { return f.asks.IsValid() }) {
		return false
	}
	a, ok := s.parseAnswer(b)
	if !ok {
		return false
	}
	for i, f := range batch {
		if f.asks != a.ip || a.to != (vswitch.MAC{}) && a.to != f.asker || slices.ContainsFunc(fates[i], func(f string) bool { return strings.HasPrefix(f, "answered") }) {
			continue
		}
		note := "answered to " + port + ": " + short(a.mac)
		if len(a.notes) > 0 {
			note += " [" + strings.Join(a.notes, ", ") + "]"
		}
		fates[i] = append(fates[i], note)
		return true
	}
	return false
}

// neighbors makes these the configured neighbors: lines IP at MAC [vlan N] [router].
func (s *scenario) neighbors(d *datadriven.TestData) (string, error) {
	c := vswitch.Change{KeepStatic: true, SetNeighbors: true}
	for _, words := range lines(d) {
		vlan := vlanOf(words, -1)
		c.Neighbors = append(c.Neighbors, vswitch.Neighbor{
			IP: must(netip.ParseAddr(words[0])), MAC: address(words[2]), VLAN: uint16(max(vlan, 0)), All: vlan < 0,
			Router: slices.Contains(words, "router"),
		})
	}
	_, err := s.s.Apply(&c)
	return "", err
}

// neigh lists the neighbor table.
func (s *scenario) neigh(d *datadriven.TestData) (string, error) {
	var out strings.Builder
	for _, n := range s.s.Neighbors(vlanOf(args(d), vswitch.AnyVLAN)) {
		fmt.Fprintf(&out, "%s at %s", n.IP, short(n.MAC))
		switch {
		case n.All:
			fmt.Fprint(&out, " in every VLAN")
		case n.VLAN != 0:
			fmt.Fprintf(&out, " vlan %d", n.VLAN)
		}
		if n.Port != "" {
			fmt.Fprintf(&out, ", behind %s", n.Port)
		}
		if n.Router {
			fmt.Fprint(&out, ", router")
		}
		if n.Learned {
			fmt.Fprintf(&out, ", %d s ago", n.Age/time.Second)
		} else {
			fmt.Fprint(&out, ", configured")
		}
		if n.Guarded {
			fmt.Fprint(&out, ", guarded")
		}
		fmt.Fprintf(&out, ", %s\n", n.State)
	}
	if out.Len() == 0 {
		return "empty\n", nil
	}
	return out.String(), nil
}

func (s *scenario) neighCounts(*datadriven.TestData) (string, error) {
	return s.counts(func(p *labPort) map[string]uint64 {
		m := p.counters.NeighByName()
		m["replies"] = p.counters.Neigh(vswitch.NeighReplies)
		return m
	}), nil
}
