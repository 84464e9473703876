package vswitch_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// An outcome is what has happened, or would happen, to a frame: what each port is sent, and why it
// is dropped at which port.
type outcome struct {
	Sent  map[string][]vswitch.TraceFrame
	Drops []string // sorted
}

// traced returns the outcome that a trace predicts.
func traced(t *testing.T, l *lab, port string, f vswitch.Frame) (o outcome, steps []vswitch.TraceStep) {
	t.Helper()
	trace, err := l.s.Trace(port, f)
	if err != nil {
		t.Fatal(err)
	}
	o.Sent = make(map[string][]vswitch.TraceFrame)
	for _, s := range trace.Steps {
		if len(s.Frames) > 0 {
			o.Sent[s.Port] = append(o.Sent[s.Port], s.Frames...)
		}
		if s.Result == vswitch.TraceDrop {
			o.Drops = append(o.Drops, s.Port+" "+s.Reason)
		}
	}
	slices.Sort(o.Drops)
	o.Drops = slices.Compact(o.Drops)
	return o, trace.Steps
}

// delivered delivers a frame, and returns the outcome.
func delivered(l *lab, port string, f vswitch.Frame) (o outcome) {
	before := make(map[string]map[string]uint64)
	for name, p := range l.ports {
		before[name] = p.counters.DropsByName()
	}
	l.ports[port].in.Deliver([]vswitch.Frame{f})
	o.Sent = make(map[string][]vswitch.TraceFrame)
	for name, p := range l.ports {
		for _, s := range p.Take() {
			o.Sent[name] = append(o.Sent[name], vswitch.TraceFrame(s))
		}
		for reason, n := range p.counters.DropsByName() {
			if n > before[name][reason] {
				o.Drops = append(o.Drops, name+" "+reason)
			}
		}
	}
	slices.Sort(o.Drops)
	return o
}

// stateOf returns what a frame could change of a switch, as far as it can be read: all counters,
// and if tables is true, all tables.
func stateOf(l *lab, tables bool) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(l.ports)) {
		p, c := l.ports[name], l.ports[name].counters
		fmt.Fprintln(&b, name, c.RxFrames.Load(), c.RxBytes.Load(), c.TxFrames.Load(), c.TxBytes.Load(), c.DropsByName(), c.FDB(),
			c.Mcast(), c.NeighByName(), c.Neigh(vswitch.NeighReplies), p.Batches())
	}
	fmt.Fprintln(&b, l.s.Stats())
	if tables {
		groups, nets := l.s.MDB(vswitch.AnyVLAN)
		fmt.Fprintln(&b, l.s.FDB("", vswitch.AnyVLAN), groups, nets, l.s.Neighbors(vswitch.AnyVLAN))
	}
	for _, f := range l.s.Filters() {
		for _, r := range append(f.Rules, f.Default) {
			fmt.Fprintln(&b, r.Frames.Load(), r.Bytes.Load())
		}
	}
	for _, m := range l.s.Mirrors() {
		fmt.Fprintln(&b, m.Counters.Frames.Load(), m.Counters.Bytes.Load(), m.Counters.Drops.Load())
	}
	return b.String()
}

// traceFrame returns a random frame, perhaps with offloads, or in a calm switch one about
// neighbors.
func traceFrame(t *testing.T, r modelRand, id int, calm bool) vswitch.Frame {
	t.Helper()
	switch {
	case calm && r.IntN(3) == 0: // a station speaks for itself, or asks for another
		me := r.IntN(6)
		verb := []string{"claims", "asks", "asks"}[r.IntN(3)]
		return vswitchtest.Frame(message(vswitchtest.Station(me), verb, fmt.Sprintf("10.0.0.%d", 1+r.IntN(6)), fmt.Sprintf("10.0.0.%d", 1+me)))
	case r.IntN(4) == 0:
		return offloaded(t, r, r.mac(), r.mac())
	}
	return vswitchtest.Frame(r.message(id).bytes)
}

// serializeLayers returns the bytes of layers, with right lengths and checksums.
func serializeLayers(t *testing.T, list ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(b.Bytes())
}

// offloaded makes a frame of TCP, perhaps with a tag, and with work that its sender has left
// to be done.
func offloaded(t *testing.T, r modelRand, dst, src vswitch.MAC) vswitch.Frame {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: layers.EthernetTypeIPv4}
	list := []gopacket.SerializableLayer{eth}
	at := 14
	if r.IntN(3) == 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
		list = append(list, &layers.Dot1Q{VLANIdentifier: uint16(r.IntN(4)), Priority: uint8(r.IntN(8)), Type: layers.EthernetTypeIPv4})
		at += 4
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: []byte{10, 0, 0, byte(1 + r.IntN(8))}, DstIP: []byte{10, 0, 0, byte(1 + r.IntN(8))}}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(r.IntN(4)), DstPort: layers.TCPPort(r.IntN(4)), ACK: true, DataOffset: 5}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	f := vswitchtest.Frame(serializeLayers(t, append(list, ip, tcp, gopacket.Payload(strings.Repeat("payload ", r.IntN(400))))...))
	switch r.IntN(3) {
	case 0:
		f.Offload = vswitch.Offload{Flags: vswitch.HdrNeedsCsum, CsumStart: uint16(at + 20), CsumOffset: 16}
	case 1:
		f.Offload = vswitch.Offload{
			Flags: vswitch.HdrNeedsCsum, CsumStart: uint16(at + 20), CsumOffset: 16,
			GSOType: vswitch.GSOTCPv4, GSOSize: uint16(500 + r.IntN(1000)), HdrLen: uint16(at + 40),
		}
	}
	return f
}

// traceConfig returns a random configuration of the n-th port. A calm one lets most frames pass.
func traceConfig(r modelRand, n int, calm bool) vswitch.PortConfig {
	if !calm {
		return r.config(n)
	}
	c := vswitch.DefaultPortConfig(fmt.Sprint("p", n))
	c.NeighSuppress = r.IntN(3) != 0
	if r.IntN(3) == 0 {
		c.StormControlPPS, c.StormControlBcastPPS = 2, 1
	}
	return c
}

// A trace agrees with what then happens to the frame, whatever the frame and the configuration are:
// destinations, every byte that they are sent, and the reasons for drops. And the trace itself
// changes nothing.
func TestTracesAgreeWithWhatHappens(t *testing.T) {
	for seed := range uint64(traceRuns) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			compareTraces(t, seed)
		})
	}
}

func compareTraces(t *testing.T, seed uint64) {
	r := modelRand{Rand: rand.New(rand.NewPCG(seed, 11)), rates: true}
	calm := seed%4 == 0
	l := newLab(t, vswitch.Config{
		TableSize: []int{8, 8192}[r.IntN(2)], Mcast: vswitch.McastConfig{Snooping: r.IntN(2) == 0},
		FDB: vswitch.FDBConfig{AgingTime: 5 * time.Second, HoldDown: time.Duration(r.IntN(2)) * 10 * time.Second},
	})
	const ports = 6
	for n := range ports {
		l.add(fmt.Sprint("p", n))
	}
	l.advance(2 * time.Second) // which fills the buckets
	for i := range 400 {
		if i%20 == 0 {
			traceChange(t, l, r, ports, calm)
		}
		if r.IntN(4) == 0 {
			l.nanos.Add(r.Int64N(int64(50 * time.Millisecond)))
		}
		if r.IntN(20) == 0 {
			l.advance(time.Second)
		}
		f, port := traceFrame(t, r, i, calm), fmt.Sprint("p", r.IntN(ports))
		before := stateOf(l, i%4 == 0)
		whole := vswitchtest.Bytes(&f)
		want, steps := traced(t, l, port, f)
		if after := stateOf(l, i%4 == 0); after != before {
			t.Fatalf("frame %d: the trace has changed something:\n%s", i, cmp.Diff(strings.Fields(before), strings.Fields(after)))
		}
		if !slices.Equal(whole, vswitchtest.Bytes(&f)) {
			t.Fatalf("frame %d: the trace has changed the frame", i)
		}
		if d := cmp.Diff(delivered(l, port, f), want); d != "" {
			t.Fatalf("frame %d from %s, %x, %+v: (-happened +traced)\n%s\nsteps %+v", i, port, whole, f.Offload, d, steps)
		}
	}
}

// traceChange changes the configuration at random. What contradicts something else is left out.
func traceChange(t *testing.T, l *lab, r modelRand, ports int, calm bool) {
	t.Helper()
	actions := []vswitch.FilterAction{vswitch.FilterAccept, vswitch.FilterDrop, vswitch.FilterCount}
	rule := func(name string) vswitch.FilterRule {
		f := vswitch.FilterRule{Name: name, Action: actions[r.IntN(3)]}
		switch r.IntN(3) {
		case 0:
			f.Protos, f.DstPorts = []uint8{6}, vswitch.PortMatch{Ranges: []vswitch.Range{{First: 0, Last: 1}}}
		case 1:
			f.VLANs = []vswitch.Range{{First: 0, Last: 1}}
		default:
			f.EtherTypes = []uint16{0x0806}
		}
		return f
	}
	c := vswitch.Change{KeepStatic: true, SetFilters: true}
	for _, name := range []string{"f", "g"} {
		c.Filters = append(c.Filters, vswitch.FilterConfig{
			Name: name, Default: actions[r.IntN(2)*r.IntN(2)], Rules: []vswitch.FilterRule{rule("a"), rule("b"), rule("c")},
		})
	}
	if _, err := l.s.Apply(&c); err != nil {
		t.Fatal(err)
	}
	if r.IntN(2) == 0 {
		mirrors := r.mirrorConfigs()
		_, _ = l.s.Apply(&vswitch.Change{KeepStatic: true, SetMirrors: true, Mirrors: mirrors[:r.IntN(len(mirrors)+1)]})
	}
	for n := range ports {
		p := l.ports[fmt.Sprint("p", n)]
		if r.IntN(2) == 0 {
			_ = p.Reconfigure(traceConfig(r, n, calm))
		}
		p.SetUp(r.IntN(8) != 0)
		p.SetCaps(vswitch.Caps{Csum: r.IntN(2) == 0, TSO4: r.IntN(2) == 0, MTU: []int{0, 0, 1500, 40}[r.IntN(4)]})
	}
	if r.IntN(3) == 0 {
		_ = l.s.AddFDB(vswitch.StaticEntry{MAC: r.mac(), VLAN: uint16(r.IntN(3)), Port: fmt.Sprint("p", r.IntN(ports))})
		_ = l.s.AddFDB(vswitch.StaticEntry{MAC: r.mac(), All: true, Kind: vswitch.FDBBlackhole})
	}
}
