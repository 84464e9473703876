//go:build e2e && linuxbridge

package vswitch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// A Linux bridge plays the scenarios, and must do with each frame what the switch does. A port is a
// veth pair, of which one end is in the bridge; frames are sent and received at the other end.
//
// Needs root, ip(8) and bridge(8). Run it with: go test -tags e2e -run LinuxBridge ./switch

// bridgeScenarios are the scenarios about what a Linux bridge has as well. Time does not pass on
// the bridge, so scenarios in which entries age are not among them.
var bridgeScenarios = []string{
	"attacks", "floods", "guard-locked", "hairpin", "isolation", "learning", "linux-selftests", "moves", "order", "reserved", "static", "vlan-fdb",
	"vlan-modes",
}

// A difference is a frame with which Linux does something else, or another FDB.
type difference struct {
	frame string // "PORT: " and the frame as the scenario has it, or "fdb"
	linux string // the ports to which Linux sends the frame; the entries of the FDB
	why   string
}

const (
	bpdus        = "without STP, Linux forwards BPDUs; PVST+ BPDUs always"
	nextTag      = "Linux takes the outer tag off where that lets the inner one name the VLAN"
	outerQinQ    = "to a bridge of 802.1Q VLANs, an 802.1ad tag is payload"
	priorityTags = "Linux takes priority tags off"
	taggedAccess = "Linux takes frames with the tag of an access port's VLAN"
)

var bridgeDifferences = map[string][]difference{
	"attacks": {
		{"mallory: aa > broadcast vlan 5 vlan 6", "a[vlan 6]", taggedAccess + "; " + nextTag},
		{"mallory: aa > broadcast s-vlan 5 vlan 6", "a[s-vlan 5 vlan 6]", outerQinQ},
		{"mallory: aa > broadcast vlan 0 vlan 6", "a[vlan 6]", nextTag},
		{"mallory: aa > broadcast vlan 0 vlan 6", "b[vlan 6]", nextTag},
	},
	"guard-locked": {
		{"vm1: ab > broadcast", "uplink, vm2", "on Linux, an entry that was learned before the port was locked lets the station in"},
	},
	"linux-selftests": {
		{"swp1: a1 > a3 s-vlan 3 vlan 5", "swp2[s-vlan 3 vlan 5]", outerQinQ},
		{"fdb", "a1 vlan 1 at swp1", "Linux has learned from the frame with an 802.1ad tag"},
	},
	"reserved": {
		{"a: aa > 01:80:c2:00:00:00", "b, c", bpdus},
		{"fdb", "bb at a", "Linux learns from frames to reserved addresses"},
		{"plain: ab > 01:80:c2:00:00:00 vlan 7", "other[vlan 7]", bpdus},
		{"plain: ab > 01:80:c2:00:00:00", "other", bpdus},
		{"plain: ab > 01:00:0c:cc:cc:cd", "other", bpdus},
		{"plain: ab > 01:00:0c:cc:cc:cd vlan 7", "other[vlan 7]", bpdus},
		{"plain: ab > 01:00:0c:cc:cc:cd vlan 0", "other", bpdus},
		{"plain: ab > 01:00:0c:cc:cc:cd s-vlan 7 vlan 8", "other[s-vlan 7 vlan 8]", bpdus},
	},
	"vlan-fdb": {
		{"a: bb > ee vlan 6", "c[vlan 6]", "Linux has no static entry in a VLAN that the port does not carry, and floods"},
	},
	"vlan-modes": {
		{"src: aa > broadcast s-vlan 5 pcp 3", "plain[s-vlan 5 pcp 3], trunk0[s-vlan 5 pcp 3]", outerQinQ},
		{"src: aa > broadcast vlan 0 pcp 4", "plain, trunk0", priorityTags},
		{"src: aa > broadcast vlan 5 pcp 1 vlan 9 pcp 2", "acc5[vlan 9 pcp 2], plain[vlan 5 pcp 1 vlan 9 pcp 2], tagged5[vlan 5 pcp 1 vlan 9 pcp 2], trunk56[vlan 5 pcp 1 vlan 9 pcp 2], untagall[vlan 9 pcp 2], untagd5[vlan 9 pcp 2]", nextTag},
		{"src: aa > broadcast vlan 5", "acc5, plain[vlan 5], tagged5[vlan 5], trunk56[vlan 5], untagall, untagd5", taggedAccess},
		{"src: aa > broadcast s-vlan 5", "acc5[s-vlan 5], plain[vlan 5 s-vlan 5], tagged5[vlan 5 s-vlan 5], trunk56[vlan 5 s-vlan 5], untagall[s-vlan 5], untagd5[s-vlan 5]", outerQinQ},
	},
}

func TestScenariosOnALinuxBridge(t *testing.T) {
	for _, name := range bridgeScenarios {
		t.Run(name, func(t *testing.T) {
			vswitch.StayOnOneCPU(t)
			ns, err := netns.New() // it ends with the thread
			if err != nil {
				t.Fatal(err)
			}
			defer ns.Close()
			vswitch.QuietNamespace(t)
			b := newLinuxBridge(t, bridgeDifferences[name])
			datadriven.RunTest(t, "testdata/scenarios/"+name+".txt", b.run)
			for _, p := range b.problems {
				t.Error(p)
			}
			for _, d := range b.differences {
				if !b.seen[d] {
					t.Errorf("%s is said to differ, and never goes to [%s]", d.frame, d.linux)
				}
			}
		})
	}
}

// untaggedVLAN stands on the bridge for the VLAN of frames without a tag, VLAN 0 in the switch.
const untaggedVLAN = 4094

// A linuxBridge is br0, and the scenario that is being played on it.
type linuxBridge struct {
	t           *testing.T
	names       *scenario // reads frames
	ports       map[string]*bridgePort
	made        int // ports so far
	batch       int
	differences []difference
	seen        map[difference]bool
	problems    []string
	markers     [2]int // sockets: what is sent at the first one comes out of the second
}

type bridgePort struct {
	near  string // in the bridge
	sock  int    // at the other end
	cfg   vswitch.PortConfig
	vlans map[int]string // as linuxVLANs
}

func newLinuxBridge(t *testing.T, differences []difference) *linuxBridge {
	b := &linuxBridge{t: t, differences: differences, seen: make(map[difference]bool)}
	b.ip("link add marks type bridge mcast_snooping 0", "link set marks up")
	for i := range b.markers {
		b.markers[i] = b.addLink(fmt.Sprintf("mark%d", i), "marks")
	}
	b.restart()
	return b
}

// restart begins with an empty bridge.
func (b *linuxBridge) restart() {
	if b.ports != nil {
		b.ip("link del br0")
	}
	b.ip("link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0 mcast_snooping 0", "link set br0 up")
	b.names = &scenario{lab: newLab(b.t, vswitch.Config{}), sent: b.batch}
	b.ports = make(map[string]*bridgePort)
}

// ip runs commands of ip(8), which must succeed, and bridge those of bridge(8).
func (b *linuxBridge) ip(commands ...string)     { b.batchOf("ip", commands) }
func (b *linuxBridge) bridge(commands ...string) { b.batchOf("bridge", commands) }

func (b *linuxBridge) batchOf(program string, commands []string) {
	b.t.Helper()
	cmd := exec.Command(program, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("%s %q: %v %s", program, commands, err, out)
	}
}

// addLink adds a port to a bridge, and returns a socket at the port's other end.
func (b *linuxBridge) addLink(near, bridge string) (sock int) {
	b.t.Helper()
	b.ip("link add "+near+" type veth peer name "+near+"f", "link set "+near+" master "+bridge+" up", "link set "+near+"f arp off up")
	far, err := netlink.LinkByName(near + "f")
	if err != nil {
		b.t.Fatal(err)
	}
	sock = vswitch.OpenPeer(b.t, far.Attrs().Index)
	if err := unix.SetsockoptInt(sock, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		b.t.Fatal(err)
	}
	return sock
}

// run executes one command. What the file says comes back if the bridge agrees.
func (b *linuxBridge) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "switch":
		b.restart()
	case "attach":
		for _, words := range lines(d) {
			b.attach(words)
		}
	case "set":
		for _, words := range lines(d) {
			b.set(words)
		}
	case "down", "up", "detach":
		for _, name := range args(d) {
			b.setLink(b.ports[name], d.Cmd)
		}
	case "static":
		if strings.TrimSpace(d.Expected) != "" {
			return d.Expected // an error of the switch
		}
		for _, words := range lines(d) {
			p, vlan := b.ports[words[2]], linuxVLAN(vlanOf(words, 0))
			if _, ok := p.vlans[vlan]; ok { // Linux refuses others
				b.addStatic(address(words[0]), p, vlan)
			}
		}
	case "delete":
		if words := args(d); strings.TrimSpace(d.Expected) == "" {
			b.delete(address(words[0]), linuxVLAN(vlanOf(words, 0)))
		}
	case "flush":
		b.flush(args(d))
	case "from":
		b.from(d)
	case "fdb":
		b.compareFDB(d)
	case "drops", "events", "advance": // Linux does not count these; time does not pass
	default:
		d.Fatalf(t, "not for a Linux bridge")
	}
	return d.Expected
}

// problem notes a difference. A test that had failed would not run the rest of the scenario.
func (b *linuxBridge) problem(format string, args ...any) {
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

func linuxVLAN(v int) int {
	if v == 0 {
		return untaggedVLAN
	}
	return v
}

func (b *linuxBridge) attach(words []string) {
	b.made++
	p := &bridgePort{near: fmt.Sprintf("p%d", b.made), cfg: vswitch.DefaultPortConfig(words[0])}
	p.sock = b.addLink(p.near, "br0")
	b.ports[words[0]] = p
	b.set(words)
}

// set changes the settings of a port.
func (b *linuxBridge) set(words []string) {
	p := b.ports[words[0]]
	before := p.cfg
	b.names.change(&p.cfg, words[1:])
	if p.cfg.Name != words[0] {
		b.ports[p.cfg.Name] = p
		delete(b.ports, words[0])
	}
	onOff := map[bool]string{true: "on", false: "off"}
	c := p.cfg
	commands := []string{fmt.Sprintf("link set dev %s learning %s flood %s mcast_flood %s bcast_flood %s isolated %s hairpin %s locked %s", p.near,
		onOff[c.Learning], onOff[c.Flood], onOff[c.McastFlood], onOff[c.BcastFlood], onOff[c.Isolated], onOff[c.Hairpin], onOff[c.Guards.Locked])}
	if p.isTunnel() {
		b.bridge(commands...)
		return
	}
	vlans := linuxVLANs(c)
	for v, flags := range vlans {
		if was, ok := p.vlans[v]; !ok || was != flags {
			commands = append(commands, fmt.Sprintf("vlan add dev %s vid %d %s", p.near, v, flags))
		}
	}
	for v := range p.vlans {
		if _, ok := vlans[v]; !ok {
			commands = append(commands, fmt.Sprintf("vlan del dev %s vid %d", p.near, v))
		}
	}
	p.vlans = vlans
	b.bridge(commands...)
	if c.GroupFwdMask != before.GroupFwdMask {
		b.ip(fmt.Sprintf("link set %s type bridge_slave group_fwd_mask %d", p.near, c.GroupFwdMask))
	}
	for _, m := range c.MACs {
		for v := range vlans {
			b.addStatic(m, p, v)
		}
	}
}

// addStatic adds an entry that does not move, as the entries of an operator here. On a bridge, a
// static entry that is not sticky moves.
func (b *linuxBridge) addStatic(m vswitch.MAC, p *bridgePort, vlan int) {
	b.bridge(fmt.Sprintf("fdb replace %v dev %s master static sticky vlan %d", m, p.near, vlan))
}

// isTunnel reports whether a port is a tunnel port, which a bridge does not have.
func (p *bridgePort) isTunnel() bool { return p.cfg.VLANMode == vswitch.VLANTunnel }

// linuxVLANs returns the VLANs that a port with these settings has on a bridge, with their flags.
// Of all VLANs, those that scenarios use are enough.
func linuxVLANs(c vswitch.PortConfig) map[int]string {
	vlans := make(map[int]string)
	if c.VLANMode == vswitch.VLANAccess || c.VLANMode == vswitch.VLANDefault && c.Tag != 0 {
		return map[int]string{int(c.Tag): "pvid untagged"}
	}
	trunks := c.Trunks
	if len(trunks) == 0 {
		trunks = []uint16{0, 5, 6, 7, 8, 9, 10}
	}
	for _, v := range trunks {
		vlans[int(v)] = ""
	}
	_, untagged := vlans[0]
	delete(vlans, 0)
	switch {
	case c.VLANMode == vswitch.VLANNativeTagged:
		vlans[int(c.Tag)] = "pvid"
	case c.VLANMode == vswitch.VLANNativeUntagged:
		vlans[int(c.Tag)] = "pvid untagged"
	case untagged:
		vlans[untaggedVLAN] = "pvid untagged"
	}
	return vlans
}

func (b *linuxBridge) setLink(p *bridgePort, command string) {
	switch command {
	case "detach":
		b.ip("link set " + p.near + " nomaster")
	default:
		b.ip("link set " + p.near + "f " + command)
	}
}

// delete removes an entry, whatever its port.
func (b *linuxBridge) delete(m vswitch.MAC, vlan int) {
	for _, e := range b.entries() {
		if e.MAC == m.String() && e.VLAN == vlan {
			b.bridge(fmt.Sprintf("fdb del %v dev %s master vlan %d", m, e.Dev, vlan))
		}
	}
}

func (b *linuxBridge) flush(words []string) {
	command := "fdb flush dev br0 dynamic"
	if len(words) > 0 && words[0] != "vlan" {
		command += " brport " + b.ports[words[0]].near
	}
	if v := vlanOf(words, -1); v >= 0 {
		command += fmt.Sprintf(" vlan %d", linuxVLAN(v))
	}
	b.bridge(command)
}

// A linuxEntry is an FDB entry as bridge(8) prints it.
type linuxEntry struct {
	MAC    string `json:"mac"`
	Dev    string `json:"ifname"`
	VLAN   int    `json:"vlan"`
	Master string `json:"master"`
	State  string `json:"state"` // "", "static" or "permanent"
}

// entries returns the entries of stations, without those of the bridge's interfaces.
func (b *linuxBridge) entries() (list []linuxEntry) {
	var all []linuxEntry
	out, err := exec.Command("bridge", "-j", "fdb", "show", "br", "br0").Output()
	if err == nil {
		err = json.Unmarshal(out, &all)
	}
	if err != nil {
		b.t.Fatalf("bridge fdb show: %v %s", err, out)
	}
	for _, e := range all {
		if e.VLAN != 0 && e.Master == "br0" && e.State != "permanent" {
			list = append(list, e)
		}
	}
	return list
}

// compareFDB compares the entries that are not pinned.
func (b *linuxBridge) compareFDB(d *datadriven.TestData) {
	names := make(map[string]string)
	pinned := make(map[string]bool)
	for name, p := range b.ports {
		names[p.near] = name
		for _, m := range p.cfg.MACs {
			pinned[m.String()] = true
		}
	}
	var got, want []string
	for _, e := range b.entries() {
		if pinned[e.MAC] {
			continue
		}
		mac, _ := vswitch.ParseMAC(e.MAC)
		vlan := ""
		if e.VLAN != untaggedVLAN {
			vlan = fmt.Sprintf(" vlan %d", e.VLAN)
		}
		static := ""
		if e.State == "static" {
			static = ", static"
		}
		got = append(got, fmt.Sprintf("%s%s at %s%s", short(mac), vlan, names[e.Dev], static))
	}
	for line := range strings.Lines(d.Expected) {
		line = strings.TrimSpace(line)
		learned, _, _ := strings.Cut(line, ", 0 s ago")
		if line != "empty" && !strings.HasSuffix(line, ", pinned") {
			want = append(want, learned)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) && !b.isKnown("fdb", strings.Join(got, ", ")) {
		b.problem("%s: the bridge's FDB is\n%s\nthat of the switch\n%s", d.Pos, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// from sends the frames one by one.
func (b *linuxBridge) from(d *datadriven.TestData) {
	b.batch++
	b.names.sent++
	var batch []testFrame
	var names []string
	for _, words := range lines(d) {
		batch = append(batch, b.names.parseFrames(words, len(batch))...)
		for len(names) < len(batch) {
			names = append(names, args(d)[0]+": "+strings.Join(words, " "))
		}
	}
	want := b.expected(d.Expected, len(batch))
	from := b.ports[args(d)[0]]
	if from.isTunnel() {
		return
	}
	for i, f := range batch {
		b.write(from.sock, f.bytes)
		got := strings.Join(b.arrivals(batch, i), ", ")
		if got != want[i] && !b.isKnown(names[i], got) {
			b.problem("%s: %s: the bridge sends the frame to [%s], the switch to [%s]", d.Pos, names[i], got, want[i])
		}
	}
}

// isKnown reports whether a difference is in the list.
func (b *linuxBridge) isKnown(frame, linux string) bool {
	for _, known := range b.differences {
		if known.frame == frame && known.linux == linux {
			b.seen[known] = true
			return true
		}
	}
	return false
}

// expected reads which ports get each frame from what a scenario says of a batch.
func (b *linuxBridge) expected(text string, frames int) []string {
	want := make([]string, frames)
	for line := range strings.Lines(text) {
		numbers, fate, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		var ports []string
		for part := range strings.SplitSeq(fate, ", ") {
			name, _, _ := strings.Cut(part, "[")
			if p := b.ports[name]; p != nil && !p.isTunnel() {
				ports = append(ports, part)
			}
		}
		first, last, _ := strings.Cut(numbers, "-")
		if last == "" {
			last = first
		}
		for i := must(strconv.Atoi(first)); i <= must(strconv.Atoi(last)); i++ {
			want[i-1] = strings.Join(ports, ", ")
		}
	}
	return want
}

func (b *linuxBridge) write(sock int, frame []byte) {
	b.t.Helper()
	if _, err := unix.Write(sock, frame); err != nil && !errors.Is(err, unix.ENETDOWN) {
		b.t.Fatal(err)
	}
}

// arrivals returns the ports at which the n-th frame of a batch arrives, with its tags, in order of
// their names. All packets pass through the queue of one CPU, so the frame has arrived everywhere
// when a marker, sent after the frame through as many devices, arrives.
func (b *linuxBridge) arrivals(batch []testFrame, n int) (ports []string) {
	mark := slices.Concat(make([]byte, 12), []byte{0x88, 0xb5}, make([]byte, 46))
	copy(mark, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2})
	mark[14], mark[15] = byte(b.batch), byte(n)
	b.write(b.markers[0], mark)
	for deadline := time.Now().Add(10 * time.Second); ; {
		m, err := vswitch.ReceiveTagged(b.markers[1])
		if err != nil || time.Now().After(deadline) {
			b.t.Fatalf("the marker has not arrived: %v", err)
		}
		if slices.Equal(m[:16], mark[:16]) {
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.ports)) {
		p := b.ports[name]
		if p.isTunnel() {
			continue
		}
		for {
			if _, _, err := unix.Recvfrom(p.sock, nil, unix.MSG_PEEK|unix.MSG_DONTWAIT); err != nil {
				break // no more
			}
			frame, err := vswitch.ReceiveTagged(p.sock)
			if err != nil {
				b.t.Fatal(err)
			}
			if i, tags := b.names.recognise(frame, batch); i == n {
				ports = append(ports, name+tags)
			} else {
				b.problem("%s got frame %d when frame %d was sent", name, i+1, n+1)
			}
		}
	}
	return ports
}
