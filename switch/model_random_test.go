package vswitch_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// Random configurations and frames for the model, from few values, so that they meet.

// A modelRand makes them.
type modelRand struct {
	*rand.Rand
	mirrors bool // there are mirrors, and no egress rates: with both, the order of copies would matter
	rates   bool
	plain   bool // no port's settings, and no mirrors, keep inlets from remembering look-ups
}

// ownMAC returns the address that belongs to the n-th port, if it has one.
func ownMAC(n int) vswitch.MAC { return vswitchtest.Station(100 + n) }

func (r modelRand) often() bool      { return r.IntN(8) != 0 }
func (r modelRand) rarely() bool     { return r.IntN(8) == 0 }
func (r modelRand) mac() vswitch.MAC { return vswitchtest.Station(r.IntN(12)) }

// addr returns the address of a station.
func (r modelRand) addr(v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(1 + r.IntN(4))})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + r.IntN(4))})
}

// config returns a random configuration of the n-th port, in which most settings usually have their
// defaults.
func (r modelRand) config(n int) vswitch.PortConfig {
	c := vswitch.DefaultPortConfig(fmt.Sprint("p", n))
	c.Learning, c.Flood, c.McastFlood, c.BcastFlood = r.often(), r.often(), r.often(), r.often()
	c.Isolated, c.Hairpin = r.rarely(), r.rarely()
	if !c.Isolated && r.IntN(4) == 0 {
		c.Community = []string{"x", "y"}[r.IntN(2)]
	}
	if r.IntN(5) == 0 {
		c.MaxMACs = 1 + r.IntN(4)
	}
	if r.IntN(4) == 0 {
		c.MACs = append(c.MACs, ownMAC(n))
	}
	if r.rarely() {
		c.GroupFwdMask = uint16(r.IntN(1 << 16))
	}
	c.NeighSuppress, c.McastFastLeave = r.IntN(2) == 0, r.IntN(3) == 0
	c.McastRouter = []vswitch.McastRouter{"", "", vswitch.McastRouterAuto, vswitch.McastRouterAlways, vswitch.McastRouterNever}[r.IntN(5)]
	r.guards(&c)
	r.vlans(&c)
	if r.rates {
		r.limits(&c)
	}
	if r.IntN(4) == 0 {
		c.IngressFilter = []string{"f", "g"}[r.IntN(2)]
	}
	if r.IntN(4) == 0 {
		c.EgressFilter = []string{"f", "g"}[r.IntN(2)]
	}
	if r.plain {
		c.NeighSuppress, c.Guards, c.IngressFilter = false, vswitch.Guards{}, ""
		c.IngressPolicingRate, c.IngressPolicingPPS, c.IngressPolicingBurst = 0, 0, 0
	}
	return c
}

func (r modelRand) guards(c *vswitch.PortConfig) {
	g := &c.Guards
	if r.IntN(5) == 0 {
		g.AllowedMACs = slices.Clone(c.MACs)
		for range 1 + r.IntN(6) {
			g.AllowedMACs = append(g.AllowedMACs, r.mac())
		}
	}
	if r.IntN(6) == 0 {
		for range 1 + r.IntN(4) {
			a := r.addr(r.IntN(2) == 0)
			p, _ := a.Prefix(a.BitLen() - r.IntN(2)*r.IntN(3))
			g.AllowedIPs = append(g.AllowedIPs, p)
		}
		g.EUI64LinkLocal = len(g.AllowedMACs) > 0 && r.IntN(2) == 0
	}
	g.BPDU, g.DHCP, g.RA, g.Locked = r.rarely(), r.rarely(), r.rarely(), r.IntN(20) == 0
}

func (r modelRand) vlans(c *vswitch.PortConfig) {
	if r.IntN(2) == 0 {
		c.VLANMode = vswitch.VLANMode(r.IntN(int(vswitch.VLANTunnel) + 1))
		c.Tag = uint16(r.IntN(4))
		for range r.IntN(3) {
			c.Trunks = append(c.Trunks, uint16(r.IntN(4)))
		}
		if c.VLANMode == vswitch.VLANTunnel {
			c.Tag = max(c.Tag, 1)
			c.QinQ = []vswitch.QinQ{"", vswitch.QinQ8021AD, vswitch.QinQ8021Q}[r.IntN(3)]
			for range r.IntN(3) {
				c.CVLANs = append(c.CVLANs, uint16(r.IntN(4)))
			}
		}
	}
	if r.IntN(3) == 0 {
		c.Priority, c.PriorityOverride = r.IntN(8), c.VLANMode != vswitch.VLANTunnel && r.IntN(2) == 0
	}
	c.PriorityTags = []vswitch.PriorityTags{
		"", "", "", vswitch.PriorityTagsKeep, vswitch.PriorityTagsNo, vswitch.PriorityTagsNonzero, vswitch.PriorityTagsAlways,
	}[r.IntN(7)]
}

// limits sets rates which divide the clock's ticks, so that the model can count in whole numbers.
func (r modelRand) limits(c *vswitch.PortConfig) {
	rate := func() uint64 { return []uint64{0, 0, 8000, 64000, 1_000_000}[r.IntN(5)] }
	pps := func() int { return []int{0, 0, 0, 10, 20, 1000}[r.IntN(6)] }
	burst := func(rate uint64) uint64 { return min(rate, uint64(r.IntN(3)*1000)) }
	c.IngressPolicingRate, c.IngressPolicingPPS = rate(), pps()
	c.IngressPolicingBurst = burst(c.IngressPolicingRate)
	if !r.mirrors {
		c.EgressRate = rate()
		c.EgressBurst = burst(c.EgressRate)
	}
	c.StormControlPPS, c.StormControlBcastPPS, c.StormControlMcastPPS, c.StormControlUnknownPPS = pps(), pps(), pps(), pps()
}

// A modelMessage is a frame that the generator has made.
type modelMessage struct {
	whole []byte
	bytes []byte // whole, or its beginning
	group *groupMessage
	nd    *neighborMessage
}

// message returns a random frame between few stations in few VLANs, which is sometimes cut short.
// id is of 16 bits and makes the frame unique in its batch.
func (r modelRand) message(id int) *modelMessage {
	var f modelMessage
	switch r.IntN(10) {
	case 0, 1, 2:
		f = r.neighbor()
	case 3, 4:
		f = r.multicast(id)
	case 5:
		if r.rarely() {
			f.whole = inEther(0x0800, ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolUDP, 0, 0, udp(67, 68)))
			break
		}
		etype, packet := filterRand{r.Rand}.packet()
		src, dst := r.mac(), r.destination()
		f.whole = serialize(&layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: etype}, gopacket.Payload(packet))
	default:
		f.whole = ether(r.destination(), r.source(), fmt.Sprint(id, "."))
	}
	for r.IntN(3) == 0 {
		tag := binary.BigEndian.AppendUint16(nil, []uint16{0x8100, 0x88a8}[r.IntN(2)])
		tag = binary.BigEndian.AppendUint16(tag, uint16(r.IntN(16)<<12|r.IntN(4)))
		f.whole = slices.Concat(f.whole[:12], tag, f.whole[12:])
	}
	if f.bytes = f.whole; r.IntN(50) == 0 {
		f.bytes = f.whole[:r.IntN(len(f.whole))]
	}
	return &f
}

func (r modelRand) source() vswitch.MAC {
	switch r.IntN(24) {
	case 0:
		return broadcast
	case 1:
		return vswitch.MAC{}
	case 2, 3:
		return ownMAC(r.IntN(6))
	}
	return r.mac()
}

func (r modelRand) destination() vswitch.MAC {
	switch r.IntN(20) {
	case 0, 1:
		return broadcast
	case 2:
		return multicast
	case 3:
		if r.IntN(4) == 0 {
			return pvst
		}
		return vswitch.MAC{1, 0x80, 0xc2, 0, 0, byte(r.IntN(32))}
	case 4:
		return vswitch.MAC{}
	case 5:
		return ownMAC(r.IntN(6))
	}
	return r.mac()
}

// neighbor returns a message of ARP or neighbor discovery.
func (r modelRand) neighbor() (f modelMessage) {
	v6 := r.IntN(2) == 0
	verbs := []string{"asks", "asks", "asks", "probes", "claims", "claims", "tells", "advertises"}
	n := neighborMessage{
		verb: verbs[r.IntN(len(verbs)-1)], src: r.mac(), ip: r.addr(v6), from: r.addr(v6), vlan: -1,
		router: r.IntN(4) == 0, weak: r.IntN(4) == 0,
	}
	if v6 {
		n.verb = verbs[r.IntN(len(verbs))]
		n.bare = n.verb != "advertises" && r.IntN(8) == 0
	}
	if n.verb == "probes" {
		n.from = netip.Addr{}
	}
	if n.mac = n.src; r.rarely() {
		n.mac = r.mac()
	}
	if n.verb == "tells" || r.rarely() {
		n.dst = r.mac()
	}
	if f.whole = n.serialize(); v6 {
		f.nd = &n
	}
	return f
}

// multicast returns a datagram to a group, or a message about groups.
func (r modelRand) multicast(id int) (f modelMessage) {
	v6, src := r.IntN(2) == 0, r.mac()
	unspecified, host, all, routers := noIPv4, hostIPv4, "224.0.0.1", "224.0.0.22"
	if v6 {
		unspecified, host, all, routers = noIPv6, hostIPv6, "ff02::1", "ff02::16"
	}
	g := &groupMessage{group: nthGroup(v6, r.IntN(3)), asked: nthGroup(v6, r.IntN(3)), from: host}
	f.group = g
	switch r.IntN(8) {
	case 0:
		g.kind = groupQuery
		g.from = []netip.Addr{netip.MustParseAddr("10.0.0.1"), noIPv4}[r.IntN(2)]
		if v6 {
			g.from = host
		}
		if g.group = g.asked; r.IntN(3) != 0 {
			g.asked, g.group = unspecified, netip.MustParseAddr(all)
		}
		f.whole = queryFor(src, g.from, g.asked, id)
	case 1:
		g.kind, g.record = groupOld, isEx
		g.group = g.asked
		f.whole = oldReport(src, g.asked, id)
	case 2:
		g.kind, g.record = groupOld, toIn
		if g.group = netip.MustParseAddr("224.0.0.2"); v6 {
			g.group = netip.MustParseAddr("ff02::2")
		}
		f.whole = leaveOf(src, g.asked, id)
	case 3, 4:
		g.kind, g.record, g.group = groupRecord, byte(isIn+r.IntN(block)), netip.MustParseAddr(routers)
		for range r.IntN(4) {
			g.sources = append(g.sources, nthSource(v6, 1+r.IntN(4)))
		}
		slices.SortFunc(g.sources, netip.Addr.Compare)
		g.sources = slices.Compact(g.sources)
		f.whole = reportOf(src, v6, id, record(g.record, g.asked, g.sources...))
	default:
		if r.IntN(4) == 0 {
			g.group = netip.MustParseAddr(all)
		}
		if g.from = nthSource(v6, 1+r.IntN(4)); v6 && r.IntN(4) == 0 {
			g.from = host
		}
		f.whole = multicastDataFrom(src, g.from, g.group, id)
	}
	return f
}

// mirrorConfigs returns random mirrors to the last port or to a VLAN. Of mirrors with one output,
// the first alone selects what goes to ports: the order of ports must not say which counts a copy.
func (r modelRand) mirrorConfigs() (list []vswitch.MirrorConfig) {
	for i := range r.IntN(4) {
		c := vswitch.MirrorConfig{Name: fmt.Sprint("m", i)}
		if c.Output = "p5"; r.IntN(3) == 0 {
			c.Output, c.OutputVLAN = "", uint16(1+r.IntN(3))
		}
		ports := func(least int) (list []string) {
			for range least + r.IntN(3) {
				list = append(list, fmt.Sprint("p", r.IntN(5)))
			}
			return list
		}
		first := !slices.ContainsFunc(list, func(o vswitch.MirrorConfig) bool { return o.Output == c.Output && o.OutputVLAN == c.OutputVLAN })
		if c.SelectSrc = ports(1); first {
			c.SelectAll, c.SelectSrc, c.SelectDst = r.IntN(4) == 0, ports(0), ports(1)
		}
		if r.IntN(3) == 0 {
			c.SelectVLAN = []uint16{uint16(r.IntN(4)), uint16(r.IntN(4))}
			if c.OutputVLAN != 0 { // which must not be the only one
				c.SelectVLAN = append(c.SelectVLAN, c.OutputVLAN%3+1)
			}
		}
		if r.IntN(3) == 0 {
			c.Filter = []string{"f", "g"}[r.IntN(2)]
		}
		if r.IntN(3) == 0 {
			c.Snaplen = 14 + r.IntN(150)
		}
		list = append(list, c)
	}
	return list
}
