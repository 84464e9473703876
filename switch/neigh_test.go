package vswitch_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// message makes a frame with a message about ARP or neighbor discovery, as in scenarios.
func message(src vswitch.MAC, verb, ip, from string) []byte {
	m := neighborMessage{verb: verb, src: src, mac: src, ip: netip.MustParseAddr(ip), vlan: -1}
	if from != "" {
		m.from = netip.MustParseAddr(from)
	}
	return m.serialize()
}

// suppressed sets neigh_suppress.
func suppressed(c *vswitch.PortConfig) { c.NeighSuppress = true }

// A port can have a limited number of learned neighbors, and so can all ports together. What a port
// has learned before is kept.
func TestNeighborLimits(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("suppressed", suppressed)
	fill := func(name string, port, n int) {
		p := l.add(name)
		for i := range n {
			l.send(name, message(vswitchtest.Station(port), "claims", fmt.Sprintf("10.%d.%d.%d", port, i/200, 1+i%200), ""))
		}
		l.got()
		p.Take()
	}
	fill("one", 1, vswitch.MaxNeighborsPerPort+10)
	count := func() int { return len(l.s.Neighbors(vswitch.AnyVLAN)) }
	if n := count(); n != vswitch.MaxNeighborsPerPort {
		t.Errorf("%d neighbors of one port", n)
	}
	if n := l.ports["one"].counters.Neigh(vswitch.NeighLimited); n != 10 {
		t.Errorf("%d messages over the limit", n)
	}
	full := vswitch.MaxNeighbors / vswitch.MaxNeighborsPerPort
	for i := 2; i <= full; i++ {
		fill(fmt.Sprint("p", i), i, vswitch.MaxNeighborsPerPort)
	}
	fill("late", 200, 5)
	if n := count(); n != vswitch.MaxNeighbors {
		t.Errorf("%d neighbors, want %d", n, vswitch.MaxNeighbors)
	}
	// An address that is there already can change hands, unless that exceeds the limit of a port.
	owner := func(ip string) vswitch.MAC {
		for _, n := range l.s.Neighbors(vswitch.AnyVLAN) {
			if n.IP.String() == ip {
				return n.MAC
			}
		}
		return vswitch.MAC{}
	}
	l.send("late", message(vswitchtest.Station(200), "claims", "10.3.0.1", ""))
	l.send("p2", message(vswitchtest.Station(2), "claims", "10.3.0.2", ""))
	if a, b := owner("10.3.0.1"), owner("10.3.0.2"); a != vswitchtest.Station(200) || b != vswitchtest.Station(3) {
		t.Errorf("two addresses of a full table are those of %v and %v", a, b)
	}
	// Room is made by a port that goes down, and by age.
	l.ports["one"].SetUp(false)
	if n := count(); n != vswitch.MaxNeighbors-vswitch.MaxNeighborsPerPort {
		t.Errorf("%d neighbors after a port went down", n)
	}
	l.send("late", message(vswitchtest.Station(200), "claims", "10.200.9.9", ""))
	if n := count(); n != vswitch.MaxNeighbors-vswitch.MaxNeighborsPerPort+1 {
		t.Errorf("%d neighbors, there is room for one", n)
	}
	l.advance(1201 * time.Second)
	l.advance(32 * time.Second) // of which the sweep needs 32 s
	if n := l.s.LearnedNeighbors(); n != 0 {
		t.Errorf("%d neighbors after their time", n)
	}
}

// An address is another station's in each VLAN, also where entries share a bucket of the table.
func TestNeighborsInManyVLANs(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("vm", suppressed)
	const vlans = 1000
	for vlan := range vlans {
		m := neighborMessage{verb: "claims", src: vswitchtest.Station(vlan), mac: vswitchtest.Station(vlan), ip: netip.MustParseAddr("10.0.0.1"), vlan: 1 + vlan}
		l.send("vm", m.serialize())
	}
	list := l.s.Neighbors(vswitch.AnyVLAN)
	for _, n := range list {
		if n.MAC != vswitchtest.Station(int(n.VLAN)-1) {
			t.Errorf("the address is that of %v in VLAN %d", n.MAC, n.VLAN)
		}
	}
	if len(list) != vlans {
		t.Errorf("%d neighbors, want one in each of %d VLANs", len(list), vlans)
	}
}

// A reply keeps to the egress rate and the mirrors of the port that it goes to, and is counted.
func TestNeighborReplies(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("vm", suppressed)
	l.add("peer", func(c *vswitch.PortConfig) { c.EgressRate = 1000 })
	l.add("probe")
	mirror := vswitch.MirrorConfig{Name: "m", SelectDst: []string{"peer"}, Output: "probe"}
	if _, err := l.s.Apply(&vswitch.Change{KeepStatic: true, SetMirrors: true, Mirrors: []vswitch.MirrorConfig{mirror}}); err != nil {
		t.Fatal(err)
	}
	l.send("vm", message(macA, "claims", "10.0.0.1", ""))
	l.ports["peer"].Take()
	l.ports["probe"].Take()
	l.advance(time.Hour)
	l.send("vm", message(macA, "claims", "10.0.0.1", ""))
	l.ports["peer"].Take()
	l.ports["probe"].Take()

	request := message(macB, "asks", "10.0.0.1", "10.0.0.2")
	batch := make([][]byte, vswitch.MaxBatch)
	for i := range batch {
		batch[i] = request
	}
	sent := uint64(0)
	for range 4 {
		l.send("peer", batch...)
		sent += uint64(len(l.ports["peer"].Take()))
	}
	p := l.ports["peer"]
	if n := p.counters.Neigh(vswitch.NeighReplies); n != 4*vswitch.MaxBatch {
		t.Errorf("%d replies", n)
	}
	if drops := p.counters.Drops(vswitch.DropEgressRate); sent == 0 || drops == 0 || sent+drops != 4*vswitch.MaxBatch {
		t.Errorf("%d replies sent, %d dropped", sent, drops)
	}
	if n := uint64(len(l.ports["probe"].Take())); n != sent {
		t.Errorf("%d replies mirrored, %d sent", n, sent)
	}
	if n := len(l.ports["vm"].Take()); n != 0 {
		t.Errorf("the owner was sent %d frames", n)
	}
}

// Requests are answered without allocation.
func TestNeighborRepliesDoNotAllocate(t *testing.T) {
	s := vswitch.NewStill(vswitch.Config{})
	attach := func(name string, suppress bool) *vswitch.Inlet {
		c := vswitch.DefaultPortConfig(name)
		c.NeighSuppress, c.Counters = suppress, new(vswitch.Counters)
		a, err := s.Attach(c, &vswitchtest.Sink{Counters: c.Counters})
		if err != nil {
			t.Fatal(err)
		}
		a.SetUp(true)
		return a.NewInlet()
	}
	owner, peer := attach("owner", true), attach("peer", false)
	for _, ip := range []string{"10.0.0.1", "fd00::1"} {
		owner.Deliver([]vswitch.Frame{vswitchtest.Frame(message(macA, "claims", ip, ""))})
	}
	frames := []vswitch.Frame{
		vswitchtest.Frame(message(macB, "asks", "10.0.0.1", "10.0.0.2")), vswitchtest.Frame(message(macB, "asks", "fd00::1", "fd00::2")),
	}
	pristine := append([]vswitch.Frame(nil), frames...)
	n := testing.AllocsPerRun(100, func() {
		copy(frames, pristine)
		peer.Deliver(frames)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Several ports claim the same addresses, and ask for them, while ports go down and come up, the
// configuration changes and the table is listed. This is for the race detector.
func TestConcurrentNeighbors(t *testing.T) {
	s := vswitch.New(vswitch.Config{})
	defer s.Close()
	var wg sync.WaitGroup
	for i := range 4 {
		c := vswitch.DefaultPortConfig(fmt.Sprint("p", i))
		c.NeighSuppress, c.Counters = i%2 == 0, new(vswitch.Counters)
		a, err := s.Attach(c, &vswitchtest.Sink{Counters: c.Counters})
		if err != nil {
			t.Fatal(err)
		}
		a.SetUp(true)
		in := a.NewInlet()
		wg.Go(func() {
			for k := range 300 {
				ip, mac := fmt.Sprintf("10.0.0.%d", 1+k%8), vswitchtest.Station(i)
				in.Deliver([]vswitch.Frame{
					vswitchtest.Frame(message(mac, "claims", ip, "")), vswitchtest.Frame(message(mac, "asks", ip, "10.0.0.99")),
				})
				switch k % 50 {
				case 10:
					a.SetUp(false)
					a.SetUp(true)
				case 20:
					c := a.Config()
					c.NeighSuppress = !c.NeighSuppress
					if err := a.Reconfigure(c); err != nil {
						t.Error(err)
					}
				case 30:
					s.Neighbors(vswitch.AnyVLAN)
				}
			}
		})
	}
	wg.Wait()
	s.CheckNeighbors(t)
}

// FuzzNeighborMessages delivers frames to a switch that knows two neighbors. The switch answers a
// frame only if gopacket, too, finds a request for one of them there, and with a well-formed reply.
// Bytes behind the end of the frame are never read.
func FuzzNeighborMessages(f *testing.F) {
	for _, verb := range []string{"asks", "probes", "claims", "tells"} {
		for _, ip := range []string{"10.0.0.1", "fd00::1", "10.0.0.7", "fd00::7"} {
			from := "10.0.0.9"
			if ip[0] == 'f' {
				from = "fd00::9"
			}
			f.Add(message(macB, verb, ip, from), uint16(0))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, sum uint16) {
		if len(data) < vswitch.MinFrameLen || len(data) > 1600 {
			return
		}
		l := newLab(t, vswitch.Config{})
		l.add("vm", suppressed)
		l.add("peer")
		l.send("vm", message(macA, "claims", "10.0.0.1", ""), message(macA, "claims", "fd00::1", ""))
		l.ports["peer"].Take()
		frame := vswitchtest.Frame(bytes.Clone(data))
		frame.Head = frame.Head[:len(frame.Head):len(frame.Head)]
		if sum != 0 {
			frame.Offload = vswitch.Offload{Flags: vswitch.HdrNeedsCsum, CsumStart: sum}
		}
		l.ports["peer"].in.Deliver([]vswitch.Frame{frame})
		s := &scenario{lab: l}
		for _, sent := range l.ports["peer"].Take() {
			a, ok := s.parseAnswer(sent.Bytes)
			if !ok || a.mac != macA || requested(data) != a.ip {
				t.Errorf("frame %x: sent %x", data, sent.Bytes)
			}
		}
		l.s.CheckNeighbors(t)
		for _, n := range l.s.Neighbors(vswitch.AnyVLAN) {
			if n.Port == "vm" && n.MAC != macA || n.IP.IsMulticast() || n.IP.IsUnspecified() {
				t.Errorf("frame %x: neighbor %+v", data, n)
			}
		}
	})
}

// requested returns the address for which a frame is a request.
func requested(b []byte) netip.Addr {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	if arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok && arp.Operation == layers.ARPRequest {
		a, _ := netip.AddrFromSlice(arp.DstProtAddress)
		return a
	}
	if ns, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation); ok {
		a, _ := netip.AddrFromSlice(ns.TargetAddress)
		return a
	}
	return netip.Addr{}
}

// BenchmarkNeighbors measures what a batch of frames costs that are neither ARP nor IPv6, without
// and with a port with neigh_suppress elsewhere, and a batch of requests that are flooded, and that
// are answered.
func BenchmarkNeighbors(b *testing.B) {
	same := func(frame []byte) []vswitch.Frame {
		frames := make([]vswitch.Frame, vswitch.MaxBatch)
		for i := range frames {
			frames[i] = vswitchtest.Frame(frame)
		}
		return frames
	}
	unicast := batchOf(vswitch.MaxBatch, 1, func(i int) vswitch.MAC { return vswitchtest.Station(2 + i%7) })
	for _, tt := range []struct {
		name     string
		suppress bool
		frames   []vswitch.Frame
	}{
		{"unicast off", false, unicast},
		{"unicast on", true, unicast},
		{"broadcast off", false, same(ether(broadcast, macB, "payload"))},
		{"broadcast on", true, same(ether(broadcast, macB, "payload"))},
		{"ARP off", false, same(message(macB, "asks", "10.0.0.1", "10.0.0.2"))},
		{"ARP answered", true, same(message(macB, "asks", "10.0.0.1", "10.0.0.2"))},
		{"ND answered", true, same(message(macB, "asks", "fd00::1", "fd00::2"))},
	} {
		b.Run(tt.name, func(b *testing.B) {
			_, ins := benchSwitch(b, 9, func(i int, c *vswitch.PortConfig) { c.NeighSuppress = tt.suppress && i == 0 })
			for _, ip := range []string{"10.0.0.1", "fd00::1"} {
				ins[0].Deliver([]vswitch.Frame{vswitchtest.Frame(message(macA, "claims", ip, ""))})
			}
			frames := append([]vswitch.Frame(nil), tt.frames...)
			for b.Loop() {
				copy(frames, tt.frames)
				ins[1].Deliver(frames)
			}
			perFrame(b, len(frames))
		})
	}
}
