package vswitch_test

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// accepting is a rule that accepts what its caller adds.
func accepting(name string, change func(*vswitch.FilterRule)) vswitch.FilterRule {
	r := vswitch.FilterRule{Name: name, Action: vswitch.FilterAccept}
	change(&r)
	return r
}

// A header that is malformed cannot be read: only rules that name none of its fields accept it.
func TestFilterOfMalformedHeaders(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	setFilters(t, l.s, vswitch.FilterConfig{Name: "f", Default: vswitch.FilterDrop, Rules: []vswitch.FilterRule{
		accepting("udp", func(r *vswitch.FilterRule) {
			r.Protos, r.DstPorts.Ranges = []uint8{17}, []vswitch.Range{{First: 53, Last: 53}}
		}),
		accepting("addresses", func(r *vswitch.FilterRule) { r.Src.Prefixes = prefixes("10.0.0.1/32", "fd00::1/128") }),
	}})
	l.add("a", func(c *vswitch.PortConfig) { c.IngressFilter = "f" })
	l.add("b")
	dns4 := func(change func(ip []byte)) []byte {
		b := ip4("10.9.9.9", "10.0.0.2", 17, 0, 0, udp(1000, 53))
		change(b)
		return inEther(v4, b)
	}
	dns6 := func(change func(ip []byte)) []byte {
		b := ip6("fd00::9", 17, udp(1000, 53))
		change(b)
		return inEther(v6, b)
	}
	known := func(ip []byte) []byte { copy(ip[12:], []byte{10, 0, 0, 1}); return ip }
	for _, tt := range []struct {
		name  string
		frame []byte
		want  string // reason, or ""
	}{
		{"as it should be", dns4(func([]byte) {}), ""},
		{"version 6 in IPv4", dns4(func(ip []byte) { ip[0] = 0x65 }), "filter-unreadable"},
		{"header shorter than 20 bytes", dns4(func(ip []byte) { ip[0] = 0x44 }), "filter-unreadable"},
		{"packet shorter than its header", dns4(func(ip []byte) { ip[3] = 19 }), "filter-unreadable"},
		{"packet shorter than its header, from an address that may", dns4(func(ip []byte) { known(ip)[3] = 19 }), "filter-unreadable"},
		{"packet that ends before its ports, in a frame that does not", dns4(func(ip []byte) { ip[3] = 23 }), "filter-unreadable"},
		{"packet that ends behind its ports", dns4(func(ip []byte) { ip[3] = 24 }), ""},
		{"packet without a length", dns4(func(ip []byte) { ip[3] = 0 }), ""},
		{"ports in the padding, from an address that may", inEther(v4, known(ip4("10.9.9.9", "10.0.0.2", 17, 0, 0, nil))), ""},
		{"options that reach over the end", dns4(func(ip []byte) { ip[0] = 0x4f }), "filter-unreadable"},
		{"IPv6 as it should be", dns6(func([]byte) {}), ""},
		{"version 4 in IPv6", dns6(func(ip []byte) { ip[0] = 0x40 }), "filter-unreadable"},
		{"IPv6 packet that ends before its ports", dns6(func(ip []byte) { ip[5] = 3 }), "filter-unreadable"},
		{"extension header that reaches over the end", dns6(func(ip []byte) { ip[6], ip[40], ip[41] = 60, 17, 200 }), "filter-unreadable"},
		{"ICMP over IPv6", dns6(func(ip []byte) { ip[6] = 1 }), "filter"},
		{"ARP from the address", inEther(etherARP, arp(1, macA, "10.0.0.1")), "filter"},
	} {
		l.send("a", tt.frame)
		got := ""
		for _, d := range l.ports["a"].in.Dropped() {
			got = d.Reason
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A rule that cannot match, because its set is empty, does not drop what cannot be read.
func TestEmptySetMatchesNothingUnreadable(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	c := vswitch.Change{KeepStatic: true, SetFilters: true, Sets: []vswitch.SetConfig{{Name: "s"}}}
	c.Filters = []vswitch.FilterConfig{{Name: "f", Default: vswitch.FilterAccept, Rules: []vswitch.FilterRule{
		{Name: "none", Action: vswitch.FilterDrop, Src: vswitch.AddressMatch{Sets: []string{"s"}}},
	}}}
	if _, err := l.s.Apply(&c); err != nil {
		t.Fatal(err)
	}
	l.add("a", func(c *vswitch.PortConfig) { c.IngressFilter = "f" })
	l.add("b")
	l.send("a", inEther(v4, make([]byte, 10)))
	l.drops("a", drops{})
	err := l.s.UpdateSet("s", func(s vswitch.SetConfig) (vswitch.SetConfig, error) {
		s.Addresses = prefixes("10.0.0.0/8")
		return s, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l.send("a", inEther(v4, make([]byte, 10)))
	l.drops("a", drops{"filter-unreadable": 1})
}

// A drop names the rule, and the counters of a GSO frame count one frame.
func TestFilterDropNamesItsRule(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	setFilters(t, l.s, vswitch.FilterConfig{Name: "f", Default: vswitch.FilterDrop, Rules: []vswitch.FilterRule{
		{Name: "tcp", Action: vswitch.FilterDrop, Protos: []uint8{6}},
		accepting("rest", func(r *vswitch.FilterRule) { r.EtherTypes = []uint16{v6} }),
	}})
	l.add("a", func(c *vswitch.PortConfig) { c.IngressFilter = "f" })
	l.add("b")
	gso := vswitchtest.Frame(inEther(v4, ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolTCP, 0, 0, slices.Concat(tcpHeader("1", "2", "ack"), make([]byte, 3000)))))
	gso.Offload = vswitch.Offload{Flags: vswitch.HdrNeedsCsum, GSOType: vswitch.GSOTCPv4, GSOSize: 1000, HdrLen: 54, CsumStart: 34, CsumOffset: 16}
	length := gso.Len
	batch := []vswitch.Frame{gso, vswitchtest.Frame(ether(broadcast, macA, "")), vswitchtest.Frame(inEther(v6, ip6("fd00::1", 6, make([]byte, 20))))}
	l.ports["a"].in.Deliver(batch)
	want := []vswitch.Dropped{
		{Stage: "filter", Reason: "filter", Port: "a", Rule: "f tcp", Frames: []int{0, 2}},
		{Stage: "filter", Reason: "filter", Port: "a", Rule: "f default", Frames: []int{1}},
	}
	if d := cmp.Diff(want, l.ports["a"].in.Dropped()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	c := l.s.Filters()[0].Rules[0]
	if c.Frames.Load() != 2 || c.Bytes.Load() != uint64(length+74) {
		t.Errorf("%d frames, %d bytes", c.Frames.Load(), c.Bytes.Load())
	}
}

// Filters and sets change while frames pass. After a change has returned, the next frames are
// filtered by it, and no frame is counted twice or not at all.
func TestFilterChangesWhileFramesPass(t *testing.T) {
	s := vswitch.NewStill(vswitch.Config{})
	change := func(admins string) *vswitch.Change {
		return &vswitch.Change{
			KeepStatic: true, SetFilters: true, Sets: []vswitch.SetConfig{{Name: "admins", Addresses: prefixes(admins)}},
			Filters: []vswitch.FilterConfig{{Name: "f", Default: vswitch.FilterDrop, Rules: []vswitch.FilterRule{
				accepting("admins", func(r *vswitch.FilterRule) { r.Src.Sets = []string{"admins"} }),
			}}},
		}
	}
	if _, err := s.Apply(change("10.0.0.1/32")); err != nil {
		t.Fatal(err)
	}
	cfg := vswitch.DefaultPortConfig("a")
	cfg.IngressFilter, cfg.EgressFilter = "f", "f"
	var sent, stop atomic.Int64
	in := attachSinks(t, s, cfg)
	var wg sync.WaitGroup
	wg.Go(func() {
		pristine := vswitchtest.Frame(inEther(v4, ip4("10.0.0.1", "10.0.0.2", 6, 0, 0, make([]byte, 20))))
		batch := make([]vswitch.Frame, vswitch.MaxBatch)
		for stop.Load() == 0 {
			for i := range batch {
				batch[i] = pristine
			}
			in.Deliver(batch)
			sent.Add(int64(len(batch)))
		}
	})
	counts := func() (accepted, total uint64) {
		f := s.Filters()[0]
		accepted = f.Rules[0].Frames.Load()
		return accepted, accepted + f.Default.Frames.Load()
	}
	wait := func(n int64) {
		for from := sent.Load(); sent.Load() < from+n; {
			runtime.Gosched()
		}
	}
	for i := range 50 {
		admins := []string{"10.0.0.2/32", "10.0.0.1/32"}[i%2]
		if i%4 < 2 {
			if _, err := s.Apply(change(admins)); err != nil {
				t.Fatal(err)
			}
		} else if err := s.UpdateSet("admins", func(c vswitch.SetConfig) (vswitch.SetConfig, error) {
			c.Addresses = prefixes(admins)
			return c, nil
		}); err != nil {
			t.Fatal(err)
		}
		before, _ := counts()
		wait(2 * vswitch.MaxBatch)
		after, _ := counts()
		if i%2 == 0 && after != before {
			t.Errorf("%d frames were accepted after the address had been removed", after-before)
		}
		if i%2 == 1 && after == before {
			t.Error("no frames were accepted after the address had been added")
		}
	}
	stop.Store(1)
	wg.Wait()
	if _, total := counts(); total != uint64(sent.Load())+1 { // and one to port a, when it was attached
		t.Errorf("%d frames were counted, %d sent", total, sent.Load())
	}
}

// A set that fills a filter beyond its limits is refused, and nothing is changed.
func TestLimitsOfFilters(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	many := func(n int) (rules []vswitch.FilterRule) {
		for i := range n {
			rules = append(rules, vswitch.FilterRule{Name: fmt.Sprint("r", i), Action: vswitch.FilterCount})
		}
		return rules
	}
	setFilters(t, l.s, vswitch.FilterConfig{Name: "f", Default: vswitch.FilterAccept, Rules: many(vswitch.MaxFilterRules)})
	l.add("a", func(c *vswitch.PortConfig) { c.IngressFilter = "f" })
	l.add("b")
	l.send("a", ether(broadcast, macA, "x"))
	l.want("through 4096 rules", got{"b": "x"})
	for i, c := range l.s.Filters()[0].Rules {
		if c.Frames.Load() != 1 {
			t.Fatalf("rule %d has counted %d frames", i, c.Frames.Load())
		}
	}
	refused := func(what string, c *vswitch.Change, is error) {
		t.Helper()
		var ce *vswitch.ChangeError
		if _, err := l.s.Apply(c); !errors.Is(err, is) || !errors.As(err, &ce) {
			t.Errorf("%s: %v", what, err)
		}
		if n := len(l.s.Filters()[0].Rules); n != vswitch.MaxFilterRules {
			t.Errorf("%s: the filter has %d rules now", what, n)
		}
	}
	refused("one rule more", &vswitch.Change{KeepStatic: true, SetFilters: true,
		Filters: []vswitch.FilterConfig{{Name: "f", Default: vswitch.FilterAccept, Rules: many(vswitch.MaxFilterRules + 1)}}}, vswitch.ErrBadFilter)
	set := vswitch.SetConfig{Name: "s"}
	for i := range uint16(vswitch.MaxSetEntries + 1) {
		set.Ports = append(set.Ports, vswitch.Range{First: 2 * i, Last: 2 * i})
	}
	refused("one entry more", &vswitch.Change{KeepStatic: true, SetFilters: true, Sets: []vswitch.SetConfig{set}}, vswitch.ErrBadSet)

	// Each address is in the lists of two rules, and no other address in those of the same two.
	rules, n := many(vswitch.MaxFilterRules), uint32(0)
	for i := range rules {
		rules[i].EtherTypes = []uint16{v4}
		for k := range 17 {
			n++
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 32)
			for _, j := range []int{i, (i + k + 1) % len(rules)} {
				rules[j].Src.Prefixes = append(rules[j].Src.Prefixes, p)
			}
		}
	}
	refused("too much memory", &vswitch.Change{KeepStatic: true, SetFilters: true,
		Filters: []vswitch.FilterConfig{{Name: "f", Default: vswitch.FilterAccept, Rules: rules}}}, vswitch.ErrBadFilter)
}

// Filters do not allocate once an inlet has used them.
func TestFiltersDoNotAllocate(t *testing.T) {
	s := vswitch.NewStill(vswitch.Config{})
	setFilters(t, s, benchFilter(200, false))
	cfg := vswitch.DefaultPortConfig("a")
	cfg.IngressFilter, cfg.EgressFilter = "f", "f"
	in := attachSinks(t, s, cfg)
	frames := benchPackets(200, false)
	for i := range frames {
		if i%3 == 0 {
			frames[i].Head[23] = 17 // not accepted
		}
	}
	pristine := slices.Clone(frames)
	n := testing.AllocsPerRun(100, func() {
		copy(frames, pristine)
		in.Deliver(frames)
	})
	if n != 0 {
		t.Errorf("%v allocations in each Deliver", n)
	}
}

// An edit that fails, and one of a set that does not exist, change nothing.
func TestUpdateSetErrors(t *testing.T) {
	s := vswitch.NewStill(vswitch.Config{})
	if _, err := s.Apply(&vswitch.Change{SetFilters: true, Sets: []vswitch.SetConfig{{Name: "s", Addresses: prefixes("10.0.0.1/32")}}}); err != nil {
		t.Fatal(err)
	}
	before := s.Sets()
	mine := errors.New("mine")
	edit := func(c vswitch.SetConfig) (vswitch.SetConfig, error) {
		c.Addresses[0] = prefixes("10.0.0.2/32")[0] // a copy
		return c, mine
	}
	if err := s.UpdateSet("s", edit); err != mine {
		t.Errorf("%v", err)
	}
	if err := s.UpdateSet("t", edit); !errors.Is(err, vswitch.ErrNoSet) {
		t.Errorf("%v", err)
	}
	if d := cmp.Diff(fmt.Sprint(before), fmt.Sprint(s.Sets())); d != "" {
		t.Error(d)
	}
}

func TestFilterTexts(t *testing.T) {
	for text, ok := range map[string]bool{
		"0": true, "65535": true, "1-2": true, "7-7": true, "": false, "2-1": false, "65536": false, "-1": false, "1-": false, "1-2-3": false, "+1": false, " 1": false,
	} {
		r, err := vswitch.ParseRange(text, 65535)
		if (err == nil) != ok {
			t.Errorf("range %q: %v, %v", text, r, err)
		}
	}
	for text, want := range map[string]string{
		"52:54:00:00:00:01":                   "52:54:00:00:00:01",
		"52:54:00:00:00:00/24":                "52:54:00:00:00:00/ff:ff:ff:00:00:00",
		"01:00:00:00:00:00/01:00:00:00:00:00": "01:00:00:00:00:00/01:00:00:00:00:00",
		"00:00:00:00:00:00/0":                 "00:00:00:00:00:00/00:00:00:00:00:00",
		"52:54:00:00:00:01/24":                "",
		"52:54:00:00:00:00/49":                "",
		"52:54:00:00:00:00/":                  "",
		"52:54:00:00:00":                      "",
	} {
		m, err := vswitch.ParseMACMask(text)
		if (err == nil) != (want != "") || err == nil && m.String() != want {
			t.Errorf("%q: %s, %v, want %q", text, m, err, want)
		}
	}
	for text, ok := range map[string]bool{"8": true, "3/4": true, "3/": false, "256": false, "3/256": false, "": false, "/1": false} {
		if v, err := vswitch.ParseICMPType(text); (err == nil) != ok || ok && v.String() != text {
			t.Errorf("type %q: %v, %v", text, v, err)
		}
	}
	words := []string{"fin", "!syn", "ack", "!cwr"}
	if m, err := vswitch.ParseTCPFlags(words); err != nil || !slices.Equal(m.Words(), words) {
		t.Errorf("%v: %v, %v", words, m, err)
	}
	if _, err := vswitch.ParseTCPFlags([]string{"syn", "nak"}); err == nil {
		t.Error("no error for a flag that does not exist")
	}
}
