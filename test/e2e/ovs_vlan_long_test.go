//go:build e2e && long

package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vswitchd/test/swtest"
)

// A bridgePort is a port that exists with the same VLAN settings in vswitchd and in Open vSwitch.
type bridgePort struct {
	name   string
	mode   string
	tag    int
	trunks []int
	cvlans []int
	qinq   string // "": the default
	mac    net.HardwareAddr
}

// bridgePorts have all modes, each in some variants. There are no two with the same settings.
func bridgePorts() []bridgePort {
	ports := []bridgePort{
		{name: "plain", mode: "trunk"},
		{name: "access5", mode: "access", tag: 5},
		{name: "access6", mode: "access", tag: 6},
		{name: "trunk56", mode: "trunk", trunks: []int{5, 6}},
		{name: "trunk0", mode: "trunk", trunks: []int{0}},
		{name: "tagged5", mode: "native-tagged", tag: 5, trunks: []int{6}},
		{name: "tagged6", mode: "native-tagged", tag: 6},
		{name: "untagged5", mode: "native-untagged", tag: 5, trunks: []int{6}},
		{name: "untagged6", mode: "native-untagged", tag: 6},
		{name: "tunnel5", mode: "dot1q-tunnel", tag: 5},
		{name: "tunnel5c", mode: "dot1q-tunnel", tag: 5, cvlans: []int{7, 8}},
		{name: "tunnel5u", mode: "dot1q-tunnel", tag: 5, cvlans: []int{0, 7}},
		{name: "tunnel5q", mode: "dot1q-tunnel", tag: 5, qinq: "802.1q"},
		{name: "tunnel6", mode: "dot1q-tunnel", tag: 6},
	}
	for i := range ports {
		ports[i].mac = net.HardwareAddr{2, 0, 0, 0, 2, byte(i)}
	}
	return ports
}

// toml returns the port's table in vswitchd's configuration.
func (p *bridgePort) toml(priorityTags string) string {
	list := func(ns []int) string { return strings.ReplaceAll(fmt.Sprint(ns), " ", ", ") }
	s := fmt.Sprintf("[port.%s]\nvlan_mode = %q\ntag = %d\npriority_tags = %q\n", p.name, p.mode, p.tag, priorityTags)
	if p.trunks != nil {
		s += "trunks = " + list(p.trunks) + "\n"
	}
	if p.cvlans != nil {
		s += "cvlans = " + list(p.cvlans) + "\n"
	}
	if p.qinq != "" {
		s += fmt.Sprintf("qinq_ethtype = %q\n", p.qinq)
	}
	return s
}

// columns returns the columns of Open vSwitch's Port table.
func (p *bridgePort) columns() (c []string) {
	list := func(ns []int) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(ns), " ", ","), "[]") }
	c = append(c, "vlan_mode="+p.mode)
	if p.tag != 0 {
		c = append(c, fmt.Sprint("tag=", p.tag))
	}
	if p.trunks != nil {
		c = append(c, "trunks="+list(p.trunks))
	}
	if p.cvlans != nil {
		c = append(c, "cvlans="+list(p.cvlans))
	}
	if p.qinq != "" {
		c = append(c, "other_config:qinq-ethtype="+p.qinq)
	}
	return c
}

// A vlanTag is the type and the rest of a tag.
type vlanTag struct{ tpid, tci uint16 }

func (t vlanTag) vid() int { return int(t.tci & 0xfff) }
func (t vlanTag) pcp() int { return int(t.tci >> 13) }

// A tagStack is the tags of a frame, the outer one first.
type tagStack []vlanTag

// parseTags reads tags such as "s5p3d 7": an outer one of type 0x88a8 with VLAN 5, priority 3 and
// the bit for drop eligibility, and one of type 0x8100 with VLAN 7.
func parseTags(text string) (tags tagStack) {
	for _, word := range strings.Fields(text) {
		t := vlanTag{tpid: 0x8100}
		if rest, ok := strings.CutPrefix(word, "s"); ok {
			word, t.tpid = rest, 0x88a8
		}
		if rest, ok := strings.CutSuffix(word, "d"); ok {
			word, t.tci = rest, 0x1000
		}
		vid, pcp, _ := strings.Cut(word, "p")
		for i, s := range []string{vid, pcp} {
			if n, err := strconv.Atoi(s); err == nil {
				t.tci |= uint16(n) << (13 * i)
			}
		}
		tags = append(tags, t)
	}
	return tags
}

func (ts tagStack) String() string {
	var words []string
	for _, t := range ts {
		word := fmt.Sprint(t.vid())
		if t.tpid == 0x88a8 {
			word = "s" + word
		}
		if t.pcp() != 0 {
			word += fmt.Sprint("p", t.pcp())
		}
		if t.tci&0x1000 != 0 {
			word += "d"
		}
		words = append(words, word)
	}
	return "[" + strings.Join(words, " ") + "]"
}

// frameWith makes a frame with tags and a number.
func frameWith(dst, src net.HardwareAddr, tags tagStack, n int) []byte {
	b := slices.Concat(dst, src)
	for _, t := range tags {
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, t.tpid), t.tci)
	}
	b = binary.BigEndian.AppendUint16(b, 0x88b5)
	return append(binary.BigEndian.AppendUint32(b, uint32(n)), make([]byte, 60)...)
}

// tagsOf returns the tags of a frame that frameWith has made, and its number.
func tagsOf(b []byte) (tags tagStack, n int) {
	at := 12
	for {
		switch tpid := binary.BigEndian.Uint16(b[at:]); tpid {
		case 0x8100, 0x88a8:
			tags = append(tags, vlanTag{tpid, binary.BigEndian.Uint16(b[at+2:])})
			at += 4
		case 0x88b5:
			return tags, int(binary.BigEndian.Uint32(b[at+2:]))
		default:
			return tags, -1
		}
	}
}

// frameKinds are the tags of the frames that each port sends: none, priority tags, VLANs that
// ports carry and others, two and three tags, with both types.
var frameKinds = []string{
	"", "0", "0p4", "s0p2", "5", "5p3", "5p3d", "6", "7", "7p2", "9", "s5", "s5p3", "s6", "s7",
	"5 7", "5 9", "5p1 9p2", "s5 7", "s5p1 7p2", "s5 s7", "s9 5", "6 5", "0 5", "0p3 5p1", "5 0", "5 0p3", "s5 0p3", "0 0", "0p1 0p2",
	"7 9", "7p2 9", "7 8 9", "5 7 9", "s5 7 9",
}

// A comparison is what becomes of a frame at one port in both switches: nil, or the tags with which
// it leaves.
type comparison struct {
	src, dst     *bridgePort
	frame        tagStack
	priorityTags string    // of Open vSwitch
	known        bool      // the frame is for the station of dst
	flooded      *tagStack // if it were not: theirs
	ours, theirs *tagStack
}

// A difference from Open vSwitch, as docs/layer2.md describes it. explain changes ours to what the
// difference makes of it, and theirs where something is lost there.
type difference struct {
	name    string
	explain func(c *comparison)
}

// edit replaces tags, if there are any to be replaced.
func edit(at **tagStack, change func(tagStack) tagStack) {
	if *at != nil {
		changed := change(slices.Clone(**at))
		*at = &changed
	}
}

var differences = []difference{
	{"the outer tag is taken off before an inner one on native-untagged ports", func(c *comparison) {
		if c.dst.mode == "native-untagged" {
			edit(&c.ours, func(ts tagStack) tagStack {
				if len(ts) > 1 && ts[0].vid() == c.dst.tag {
					return ts[1:]
				}
				return ts
			})
		}
	}},
	{"access ports accept a priority tag with another tag, which is lost", func(c *comparison) {
		if c.src.mode == "access" && len(c.frame) > 1 && c.frame[0].vid() == 0 && c.frame[1].vid() != 0 && c.ours == nil {
			c.theirs = nil
		}
	}},
	{"access ports accept a priority tag with another one, which is lost", func(c *comparison) {
		if c.src.mode == "access" && len(c.frame) > 1 && c.frame[0].vid() == 0 && c.frame[1].vid() == 0 {
			edit(&c.ours, func(ts tagStack) tagStack { return ts[:max(len(ts)-1, 0)] })
		}
	}},
	{"inner priority tags are removed for access ports", func(c *comparison) {
		if c.dst.mode != "access" {
			return
		}
		removed := func(ts tagStack) tagStack {
			if len(ts) > 0 && ts[0].vid() == 0 {
				return nil
			}
			return ts
		}
		edit(&c.ours, removed)
		if c.src.mode == "dot1q-tunnel" && len(c.frame) > 0 {
			edit(&c.theirs, removed) // one that priority_tags asks for
		}
	}},
	{"known stations are sent frames in VLANs that their ports do not carry", func(c *comparison) {
		if c.known && c.ours == nil && c.flooded == nil {
			c.theirs = nil
		}
	}},
	{"with no, priority tags stay on trunks", func(c *comparison) {
		if c.priorityTags == "no" && c.frame != nil && c.frame[0].vid() == 0 && c.frame[0].pcp() != 0 && c.dst.mode == "trunk" {
			edit(&c.theirs, func(tagStack) tagStack { return nil })
		}
	}},
	{"priorities are copied between the customer's tag and the outer one", func(c *comparison) {
		if c.priorityTags != "no" && (c.src.mode == "dot1q-tunnel" || len(c.frame) > 1) {
			none := func(ts tagStack) tagStack {
				for i := range ts {
					ts[i].tci &^= 0xe000
				}
				return ts
			}
			edit(&c.ours, none)
			edit(&c.theirs, none)
		}
	}},
	{"tags of VLAN 0 and priority 0 are lost, with those behind them", func(c *comparison) {
		edit(&c.ours, func(ts tagStack) tagStack {
			if i := slices.IndexFunc(ts, func(t vlanTag) bool { return t.vid() == 0 && t.pcp() == 0 }); i >= 0 {
				return ts[:i]
			}
			return ts
		})
	}},
	{"a tag is lost if a tunnel adds a third", func(c *comparison) {
		if c.src.mode == "dot1q-tunnel" && len(c.frame) > 1 {
			edit(&c.ours, func(ts tagStack) tagStack {
				if at := len(ts) - len(c.frame) + 1; at < len(ts) {
					return slices.Delete(ts, at, at+1)
				}
				return ts
			})
		}
	}},
	{"the bit for drop eligibility is cleared in tags that are changed", func(c *comparison) {
		edit(&c.ours, func(ts tagStack) tagStack {
			for i := range ts {
				ts[i].tci &^= 0x1000
			}
			return ts
		})
	}},
}

func sameTags(a, b *tagStack) bool {
	return (a == nil) == (b == nil) && (a == nil || slices.Equal(*a, *b))
}

func (c *comparison) String() string {
	show := func(ts *tagStack) string {
		if ts == nil {
			return "nothing"
		}
		return ts.String()
	}
	return fmt.Sprintf("%s from %s to %s: %s, with Open vSwitch %s", c.frame, c.src.name, c.dst.name, show(c.ours), show(c.theirs))
}

// explained returns the fewest differences that explain why the switches differ, as bits of
// differences; ok is false if none do.
func (c *comparison) explained() (which int, ok bool) {
	best := -1
	for set := range 1 << len(differences) {
		if best >= 0 && ones(set) >= ones(best) {
			continue
		}
		tried := *c
		for i, d := range differences {
			if set>>i&1 != 0 {
				d.explain(&tried)
			}
		}
		if sameTags(tried.ours, tried.theirs) {
			best = set
		}
	}
	return best, best >= 0
}

func ones(set int) (n int) {
	for ; set != 0; set &= set - 1 {
		n++
	}
	return n
}

// TestVLANModesAgainstOpenVSwitch sends frames with all kinds of tags through each pair of modes,
// in vswitchd and in Open vSwitch, flooded and to a known station, and compares which ports get
// them, with which tags. What differs is in docs/layer2.md, and nothing is there that does not.
func TestVLANModesAgainstOpenVSwitch(t *testing.T) {
	ports := bridgePorts()
	ovs := startOVS(t)
	for i := range ports {
		ovs.addPort(ports[i].name, ports[i].columns()...)
	}
	found := make([]int, len(differences))
	compared, same := 0, 0
	for _, run := range []struct{ ours, theirs string }{{"keep", "no"}, {"no", "no"}, {"if-nonzero", "if-nonzero"}, {"always", "always"}} {
		guests := startBridgePorts(t, ports, run.ours)
		for i := range ports {
			ovs.vsctl("set", "port", ports[i].name, "other_config:priority-tags="+run.theirs)
			for _, vlan := range []int{0, 5, 6} {
				ovs.learn(ports[i].name, vlan, ports[i].mac)
			}
		}
		n := 0
		for from := range ports {
			src := &ports[from]
			for _, kind := range frameKinds {
				frame := parseTags(kind)
				targets := []net.HardwareAddr{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
				if run.ours == "keep" {
					for i := range ports {
						targets = append(targets, ports[i].mac)
					}
				}
				flooded := make([]*tagStack, len(ports))
				for i, dst := range targets {
					n++
					data := frameWith(dst, net.HardwareAddr{2, 0, 0, 0, 3, byte(from)}, frame, n)
					guests[from].send(data)
					ovs.deliver(src.name, data)
					for to := range ports {
						c := comparison{
							src: src, dst: &ports[to], frame: frame, priorityTags: run.theirs,
							known: i == to+1, flooded: flooded[to],
							ours: onlyFrame(t, guests[to].take(), n), theirs: onlyFrame(t, ovs.take(ports[to].name), n),
						}
						if compared++; i == 0 {
							flooded[to] = c.theirs
						}
						if sameTags(c.ours, c.theirs) {
							same++
							continue
						}
						which, ok := c.explained()
						if !ok {
							t.Errorf("priority_tags %s, to %s: %v", run.ours, dst, &c)
						}
						for i := range differences {
							found[i] += which >> i & 1
						}
					}
				}
			}
		}
	}
	t.Logf("%d outcomes are compared, %d are the same", compared, same)
	for i, d := range differences {
		t.Logf("%6d: %s", found[i], d.name)
		if found[i] == 0 {
			t.Errorf("not found: %s", d.name)
		}
	}
}

// startBridgePorts starts vswitchd with ports, and connects a guest to each. Their stations are in
// the FDB.
func startBridgePorts(t *testing.T, ports []bridgePort, priorityTags string) (guests []*rawGuest) {
	t.Helper()
	var config strings.Builder
	config.WriteString("loop_detection = false\n") // probes have the EtherType of the frames that are compared
	for i := range ports {
		config.WriteString(ports[i].toml(priorityTags))
	}
	for i := range ports {
		for _, vlan := range []int{0, 5, 6} {
			fmt.Fprintf(&config, "[[fdb]]\nmac = %q\nvlan = %d\nport = %q\n", ports[i].mac, vlan, ports[i].name)
		}
	}
	s := swtest.Start(t, nil, config.String())
	for i := range ports {
		guests = append(guests, connectRaw(t, s.Socket(ports[i].name)))
		s.WaitState(t, ports[i].name, "running")
	}
	return guests
}

// onlyFrame returns the tags of the only frame, which has number n; nil if there is none.
func onlyFrame(t *testing.T, frames [][]byte, n int) *tagStack {
	t.Helper()
	frames = slices.DeleteFunc(frames, isBeat)
	if len(frames) == 0 {
		return nil
	}
	tags, got := tagsOf(frames[0])
	if len(frames) > 1 || got != n {
		t.Fatalf("%d frames came, the first with number %d instead of %d", len(frames), got, n)
	}
	return &tags
}
