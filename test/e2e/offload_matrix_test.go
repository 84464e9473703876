//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// An offloadKind is a kind of station, by what it leaves to others and takes from them.
type offloadKind struct {
	name    string
	options string // of QEMU's device
	port    string // lines of the port's configuration
	ns      string // not a guest, but a namespace behind an uplink, whose veth's offloads are "on" or "off"
	sends   bool   // TCP frames longer than its MTU
	takes   bool   // such frames
	mq      int    // queue pairs; 0: 1
}

// offloadKinds are crossed with one another. All are Linux, which makes such frames when it may.
var offloadKinds = []offloadKind{
	{name: "all", sends: true, takes: true},
	{name: "none", port: "offloads = []\n"},
	{name: "veth-on", ns: "on", sends: true, takes: true},
	{name: "veth-off", ns: "off", takes: true}, // the kernel cuts them in front of the veth
}

// TestOffloadMatrix has stations of all kinds talk to one another. What one leaves to be done and
// another one does not do is done in between: everything arrives, once, and as it was sent.
func TestOffloadMatrix(t *testing.T) {
	runOffloadMatrix(t, offloadKinds)
}

func runOffloadMatrix(t *testing.T, kinds []offloadKind) {
	m := newOffloadMatrix(t, kinds)
	m.negotiated(t)
	m.cross(t, "untagged")
	m.tag(t)
	m.cross(t, "tagged")
	m.report(t)
}

// An offloadMatrix is two stations of each kind: one that sends, one that receives.
type offloadMatrix struct {
	kinds    []offloadKind
	s        *swtest.Switch
	from, to []*offloadStation
	rows     map[string][]string // of the report, by the pair of kinds
}

// An offloadStation is a guest or a namespace.
type offloadStation struct {
	kind offloadKind
	port string // its name
	n    int    // its place in each subnet
	flow string // the program
	vm   *vm.VM
	ns   *swtest.Netns
}

// matrixVLAN is that of the tagged round.
const matrixVLAN = 7

// addr is the station's address, in a subnet of the tagged round or not.
func (e *offloadStation) addr(v6, tagged bool) string {
	net := 0
	if tagged {
		net = matrixVLAN
	}
	if v6 {
		return fmt.Sprintf("fd0%d::%d", net, e.n)
	}
	return fmt.Sprintf("10.%d.0.%d", net, e.n)
}

// addresses is a command that gives an interface the station's addresses.
func (e *offloadStation) addresses(dev string, tagged bool) string {
	return fmt.Sprintf("ip addr add %s/24 dev %s && ip addr add %s/64 dev %s nodad", e.addr(false, tagged), dev, e.addr(true, tagged), dev)
}

// run runs a shell command on the station.
func (e *offloadStation) run(ctx context.Context, command string) (string, error) {
	if e.vm != nil {
		return e.vm.Output(ctx, command)
	}
	cmd := e.ns.Command("sh", "-c", command)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %s: %w\n%s%s", e.port, command, err, out, &stderr)
	}
	return string(out), err
}

func (e *offloadStation) must(t *testing.T, command string) string {
	t.Helper()
	out, err := e.run(testContext(t), command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func newOffloadMatrix(t *testing.T, kinds []offloadKind) *offloadMatrix {
	m := &offloadMatrix{kinds: kinds, rows: make(map[string][]string)}
	here := swtest.NewNetns(t)
	for i, k := range kinds {
		for side, list := range []*[]*offloadStation{&m.from, &m.to} {
			e := &offloadStation{kind: k, port: fmt.Sprintf("%s-%d", k.name, side), n: 10 + 2*i + side, flow: "flow"}
			if k.ns != "" {
				e.inNamespace(t, here)
			}
			*list = append(*list, e)
		}
	}
	m.s = swtest.Start(t, here, m.config(false))
	var guests []*offloadStation
	var configs []vm.Config
	for _, e := range m.all() {
		if e.kind.ns == "" {
			guests = append(guests, e)
			configs = append(configs, vm.Config{Name: e.port, Socket: m.s.Socket(e.port), DeviceOptions: e.kind.options, Queues: e.kind.mq})
		}
	}
	for i, g := range vm.StartAll(t, configs...) {
		guests[i].vm = g
		guests[i].must(t, "ip link set eth0 up && "+guests[i].addresses("eth0", false))
	}
	for _, e := range m.to {
		if e.vm != nil {
			e.must(t, "iperf3 --server --daemon && (flow serve "+flowPort+" >/dev/null 2>&1 &)")
		} else {
			start(t, e.ns.Command("iperf3", "--server"))
			start(t, e.ns.Command(e.flow, "serve", flowPort))
		}
	}
	return m
}

// flowPort is where test/guest/flow listens.
const flowPort = "7777"

// flowProgram is the path of test/guest/flow on this machine. It comes with the guest's image.
func flowProgram(t *testing.T) string {
	t.Helper()
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "build", "guest", "flow")
}

func (m *offloadMatrix) all() []*offloadStation {
	return append(append([]*offloadStation{}, m.from...), m.to...)
}

// inNamespace makes the station a namespace at the far end of a veth.
func (e *offloadStation) inNamespace(t *testing.T, here *swtest.Netns) {
	e.ns, e.flow = swtest.NewNetns(t), flowProgram(t)
	swtest.NewVeth(t, here, e.port, e.ns, "far0")
	e.must(t, e.addresses("far0", false))
	for ns, nic := range map[*swtest.Netns]string{here: e.port, e.ns: "far0"} {
		args := []string{"ethtool", "-K", nic}
		for _, f := range []string{"tx", "tso", "gso", "gro", "txvlan", "rxvlan"} {
			args = append(args, f, e.kind.ns)
		}
		ns.Run(t, args[0], args[1:]...)
	}
}

// config is the switch's configuration. In the tagged round senders have an access port and send
// without a tag, except for namespaces with offloads: those and all receivers use tagged frames.
func (m *offloadMatrix) config(tagged bool) string {
	var b strings.Builder
	for _, e := range m.all() {
		if e.kind.ns == "" {
			fmt.Fprintf(&b, "[port.%q]\n", e.port)
		} else {
			fmt.Fprintf(&b, "[uplink.%q]\ninterface = %q\n", e.port, e.port)
		}
		b.WriteString(e.kind.port)
		if tagged && m.access(e) {
			fmt.Fprintf(&b, "tag = %d\n", matrixVLAN)
		}
	}
	return b.String()
}

func (m *offloadMatrix) access(e *offloadStation) bool {
	for i := range m.from {
		if m.from[i] == e {
			return e.kind.ns != "on"
		}
	}
	return false
}

// tag begins the tagged round.
func (m *offloadMatrix) tag(t *testing.T) {
	for _, e := range m.all() {
		dev := "eth0"
		switch {
		case e.ns != nil:
			if dev = "far0"; !m.access(e) {
				e.ns.Tag(t, dev, matrixVLAN)
			}
		case !m.access(e):
			dev = fmt.Sprintf("eth0.%d", matrixVLAN)
			e.must(t, fmt.Sprintf("ip link add link eth0 name %s type vlan id %d && ip link set %s up", dev, matrixVLAN, dev))
		}
		e.must(t, e.addresses(dev, true))
	}
	m.s.Configure(t, m.config(true))
	m.s.Signal(t, syscall.SIGHUP)
	for _, e := range m.from {
		if m.access(e) {
			swtest.Until(t, "port "+e.port+" has a tag", func() bool { return m.s.Port(t, e.port).VLAN.Tag == matrixVLAN })
		}
	}
}

// negotiated checks that the guests are what they are meant to be.
func (m *offloadMatrix) negotiated(t *testing.T) {
	for _, e := range m.all() {
		if e.vm == nil {
			continue
		}
		features := m.s.Port(t, e.port).Features
		t.Logf("%s: %s", e.port, strings.Join(features, " "))
		for feature, want := range map[string]bool{"HOST_TSO4": e.kind.sends, "HOST_TSO6": e.kind.sends, "GUEST_TSO4": e.kind.takes, "GUEST_TSO6": e.kind.takes} {
			if slices.Contains(features, feature) != want {
				t.Errorf("%s has negotiated %s: %v, want %v", e.port, feature, !want, want)
			}
		}
	}
}

// cross has all stations that send talk to all that receive.
func (m *offloadMatrix) cross(t *testing.T, round string) {
	for _, from := range m.from {
		for _, to := range m.to {
			for _, v6 := range []bool{false, true} {
				p := &offloadPair{m: m, from: from, to: to, v6: v6, tagged: round == "tagged"}
				ip := "IPv4"
				if v6 {
					ip = "IPv6"
				}
				pair := from.kind.name + "\t" + to.kind.name
				t.Run(strings.Join([]string{round, ip, from.kind.name, to.kind.name}, "/"), func(t *testing.T) {
					m.rows[pair] = append(m.rows[pair], p.talk(t).String())
				})
			}
		}
	}
}

// report prints the matrix, and checks what the whole of it has cost.
func (m *offloadMatrix) report(t *testing.T) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "from\tto\tIPv4\tIPv6\tIPv4, VLAN\tIPv6, VLAN")
	for _, from := range m.kinds {
		for _, to := range m.kinds {
			pair := from.name + "\t" + to.name
			fmt.Fprintln(w, pair+"\t"+strings.Join(m.rows[pair], "\t"))
		}
	}
	w.Flush()
	t.Logf("TCP segments sent again of all, mean length of the frames that arrived, UDP datagrams lost of all\n%s", &table)
	for _, e := range m.all() {
		for reason, n := range m.s.Port(t, e.port).Counters.Drops {
			switch reason {
			case "ring-full", "no-destination":
				t.Logf("%s dropped %d frames: %s", e.port, n, reason)
			default:
				t.Errorf("%s dropped %d frames: %s", e.port, n, reason)
			}
		}
	}
}

// What is sent.
const (
	matrixBytes   = 2 << 20 // by TCP, each time
	matrixRate    = 12_500_000
	matrixMSS     = 1448 // payload of a segment with time stamps, over IPv4
	matrixFrame   = 1522 // the longest one, with a tag
	matrixBig     = 4000 // bytes of a datagram that is sent in fragments
	matrixBatch   = 32   // datagrams that are segments of one frame
	matrixSegment = 1200 // bytes of each
)

// An offloadPair is two stations that talk.
type offloadPair struct {
	m          *offloadMatrix
	from, to   *offloadStation
	v6, tagged bool
}

// A cell is what became of it. Segments of TCP are those that were sent for the second time, and
// all.
type cell struct {
	again, segments int64
	lost, datagrams int64
	mean            int64 // length of the frames that arrived, in bytes
}

func (c cell) String() string {
	return fmt.Sprintf("%d/%d, %d B, %d/%d", c.again, c.segments, c.mean, c.lost, c.datagrams)
}

// good reports whether it was as on an idle link: no loss of datagrams, and hardly any of segments.
func (c cell) good() bool { return c.lost == 0 && c.again*1000 < c.segments }

// talk has one send to the other, by TCP and UDP, and returns what became of it.
func (p *offloadPair) talk(t *testing.T) cell {
	// The rate is one that no station has trouble with, so that there is no reason for a loss. On a
	// busy machine a guest may yet stand still for a while: only what happens each time is a fault.
	c := p.try(t)
	for n := 1; !c.good() && n < 4; n++ {
		t.Logf("again, after %v", c)
		c = p.try(t)
	}
	if !c.good() {
		t.Errorf("each time there are losses: %v", c)
	}
	switch {
	case p.from.kind.sends && p.to.kind.takes && c.mean < 3*matrixMSS:
		t.Errorf("frames have %d bytes on average: they were segmented though both stations take them as they are", c.mean)
	case !p.to.kind.takes && c.mean > matrixFrame:
		t.Errorf("frames have %d bytes on average: more than the guest takes", c.mean)
	}
	return c
}

func (p *offloadPair) try(t *testing.T) (c cell) {
	t.Helper()
	before := p.m.s.Port(t, p.to.port).Counters
	r := p.iperf(t, fmt.Sprintf("--bytes %d --fq-rate %d", matrixBytes, 8*matrixRate))
	after := p.m.s.Port(t, p.to.port).Counters
	c.mean = int64(after.TxBytes-before.TxBytes) / int64(max(1, after.TxFrames-before.TxFrames))
	c.again, c.segments = r.Retransmits, matrixBytes/matrixMSS

	r = p.iperf(t, fmt.Sprintf("--udp --bitrate %d --bytes 100000 --length %d", 2*matrixRate, matrixBig))
	c.lost, c.datagrams = r.Lost, r.Packets

	p.verified(t, &c)
	return c
}

// iperf runs iperf3 from one to the other.
func (p *offloadPair) iperf(t *testing.T, args string) vm.IperfReport {
	t.Helper()
	command := fmt.Sprintf("iperf3 --json --connect-timeout 10000 --client %s %s 2>/dev/null", p.to.addr(p.v6, p.tagged), args)
	r, err := whenFree(func() (vm.IperfReport, error) {
		out, err := p.from.run(testContext(t), command)
		report, parseErr := vm.ParseIperf([]byte(out))
		if parseErr != nil {
			return report, errors.Join(parseErr, err)
		}
		return report, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// verified sends what is looked at, byte by byte, where it arrives.
func (p *offloadPair) verified(t *testing.T, c *cell) {
	t.Helper()
	command := fmt.Sprintf("%s send -rate %d -bytes %d -datagrams %d -size %d -batch %d %s %s",
		p.from.flow, matrixRate, matrixBytes, 4*matrixBatch, matrixSegment, matrixBatch, p.to.addr(p.v6, p.tagged), flowPort)
	out, err := p.from.run(testContext(t), command)
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Bytes, Datagrams      int
		Retransmits, Segments int64
		Error                 string
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	c.again += r.Retransmits
	c.segments += r.Segments
	c.lost += int64(4*matrixBatch - r.Datagrams)
	c.datagrams += 4 * matrixBatch
	if r.Bytes != matrixBytes || r.Error != "" && r.Datagrams == 4*matrixBatch {
		t.Errorf("what arrived is not what was sent: %s", out)
	}
}
