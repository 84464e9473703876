//go:build e2e && long

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// A guestKind is a guest with options of QEMU's device that change what is negotiated.
type guestKind struct {
	port    string
	options string
	qemu    vm.QEMU
	queues  int
	mtu     int      // host_mtu, and what is configured for the port
	on, off []string // features that differ from those of a guest without options
}

var guestKinds = []guestKind{
	{port: "plain", qemu: vm.QEMU10},
	{port: "indirect-off", qemu: vm.QEMU10, options: "indirect_desc=off", off: []string{"INDIRECT_DESC"}},
	{port: "event-off", qemu: vm.QEMU10, options: "event_idx=off,rx_queue_size=1024,tx_queue_size=1024", off: []string{"EVENT_IDX"}},
	{port: "mrg-off", qemu: vm.QEMU10, options: "mrg_rxbuf=off", off: []string{"MRG_RXBUF"}},
	{port: "legacy", qemu: vm.QEMU10, options: "disable-modern=on,disable-legacy=off", off: []string{"VERSION_1"}},
	{port: "legacy-mrg-off", qemu: vm.QEMU10, options: "disable-modern=on,disable-legacy=off,mrg_rxbuf=off", off: []string{"VERSION_1", "MRG_RXBUF"}},
	{
		port: "small", qemu: vm.QEMU10, options: "mrg_rxbuf=off,csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off," +
			"host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,indirect_desc=off,event_idx=off",
		off: []string{"MRG_RXBUF", "INDIRECT_DESC", "EVENT_IDX", "CSUM", "GUEST_CSUM", "HOST_TSO4", "GUEST_TSO4"},
	},
	{port: "mq", qemu: vm.QEMU10, queues: 4, on: []string{"MQ"}},
	{port: "packed", qemu: vm.QEMU10, options: "packed=on", on: []string{"RING_PACKED"}},
	{port: "packed-small", qemu: vm.QEMU10, options: "packed=on,mrg_rxbuf=off,indirect_desc=off,event_idx=off", on: []string{"RING_PACKED"},
		off: []string{"MRG_RXBUF", "INDIRECT_DESC", "EVENT_IDX"}},
	{port: "host-mtu", qemu: vm.QEMU10, options: "host_mtu=4000", mtu: 4000, on: []string{"MTU"}},
	{port: "legacy-7.2", options: "disable-modern=on,disable-legacy=off,mrg_rxbuf=off", qemu: vm.QEMU72, off: []string{"VERSION_1", "MRG_RXBUF"}},
	{port: "packed-7.2", options: "packed=on", qemu: vm.QEMU72, on: []string{"RING_PACKED"}},
}

// optionalFeatures are those that a guest without options has, or has not.
var optionalFeatures = map[string]bool{
	"INDIRECT_DESC": true, "EVENT_IDX": true, "VERSION_1": true, "MRG_RXBUF": true,
	"CSUM": true, "GUEST_CSUM": true, "HOST_TSO4": true, "GUEST_TSO4": true,
	"MQ": false, "RING_PACKED": false, "MTU": false,
}

// TestGuestOptions has network devices with different options talk to one with none. What a device
// should have negotiated follows from its options and from what vswitchd offers. One guest for each
// version of QEMU has all its devices, each in a separate subnet.
func TestGuestOptions(t *testing.T) {
	versions, err := vm.Versions()
	if err != nil {
		t.Fatal(err)
	}
	s := swtest.Start(t, nil, optionsConfig(t))
	peer := guestConfig(s, vm.QEMU10, "peer", 0)
	peer.IPs = nil
	guests := map[vm.QEMU]*vm.Config{}
	offers := make([][]string, len(guestKinds))
	for i, k := range guestKinds {
		peer.IPs = append(peer.IPs, fmt.Sprintf("10.0.%d.2/24", i), fmt.Sprintf("fd00:%d::2/64", i))
		offers[i] = offered(t, s, k.port)
		nic := vm.NIC{Socket: s.Socket(k.port), Queues: k.queues, DeviceOptions: k.options, MAC: fmt.Sprintf("52:54:00:00:01:%02x", i)}
		if g := guests[k.qemu]; g != nil {
			g.More = append(g.More, nic)
			continue
		}
		guests[k.qemu] = &vm.Config{
			Name: "options-" + string(k.qemu), QEMU: k.qemu, Reconnect: 100 * time.Millisecond,
			Socket: nic.Socket, Queues: nic.Queues, DeviceOptions: nic.DeviceOptions, MAC: nic.MAC,
		}
	}
	configs := []vm.Config{peer}
	for _, q := range versions {
		configs = append(configs, *guests[q])
	}
	vms := vm.StartAll(t, configs...)

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "port\tring\tsize\tsuppression\theader\tMbit/s to peer\tfrom peer\tjumbo\tdrops of port, peer\tnegotiated")
	devices := map[vm.QEMU]int{}
	for i, k := range guestKinds {
		at := slices.Index(versions, k.qemu)
		if at < 0 {
			fmt.Fprintf(w, "%s\tthere is no QEMU %s for this release of Debian\n", k.port, k.qemu)
			continue
		}
		n := devices[k.qemu]
		devices[k.qemu]++
		t.Run(k.port, func(t *testing.T) {
			g := &optionGuest{
				kind: k, s: s, guest: vms[at+1], peer: vms[0], dev: fmt.Sprintf("eth%d", n),
				addr: fmt.Sprintf("10.0.%d.1", i), peerAddr: fmt.Sprintf("10.0.%d.2", i), peerAddr6: fmt.Sprintf("fd00:%d::2", i),
			}
			// Linux has an address on all of its devices, except where something else is said here.
			g.guest.MustRun(t, fmt.Sprintf("sysctl -q -w net.ipv4.conf.all.arp_ignore=1 && ip link set %[1]s up && "+
				"ip address add %[2]s/24 dev %[1]s && ip address add fd00:%[3]d::1/64 dev %[1]s", g.dev, g.addr, i))
			s.WaitState(t, k.port, control.StateRunning)
			g.negotiated(t, offers[i])
			fmt.Fprintln(w, g.row(t, testContext(t)))
			g.guest.MustRun(t, "ip link set "+g.dev+" down")
		})
	}
	w.Flush()
	t.Logf("\n%s", &table)
}

func optionsConfig(t *testing.T) string {
	var b strings.Builder
	b.WriteString("[port.peer]\n")
	for _, k := range guestKinds {
		fmt.Fprintf(&b, "[port.%q]\nqueues = %d\n", k.port, max(1, k.queues))
		if k.mtu == 0 {
			continue
		}
		mtu := fmt.Sprintf("mtu = %d\n", k.mtu)
		if code, _, why := swtest.Check(t, "[port.x]\n"+mtu); code != 0 {
			t.Logf("%s: this vswitchd offers no MTU: %s", k.port, why)
			continue
		}
		b.WriteString(mtu)
	}
	return b.String()
}

type optionGuest struct {
	kind        guestKind
	s           *swtest.Switch
	guest, peer *vm.VM

	dev                       string // in the guest
	addr, peerAddr, peerAddr6 string
}

func (g *optionGuest) port(t *testing.T) control.PortDetail { return g.s.Port(t, g.kind.port) }

// negotiated compares what port show says was negotiated with what should be.
func (g *optionGuest) negotiated(t *testing.T, offers []string) {
	p := g.port(t)
	for name, usual := range optionalFeatures {
		asked := (usual || slices.Contains(g.kind.on, name)) && !slices.Contains(g.kind.off, name)
		want := asked && slices.Contains(offers, name)
		if asked && !want {
			t.Logf("%s is not offered: the guest does without", name)
		}
		if got := slices.Contains(p.Features, name); got != want {
			t.Errorf("%s: negotiated %v, want %v: %v", name, got, want, p.Features)
		}
	}
	has := func(name string) bool { return slices.Contains(p.Features, name) }
	format := "split"
	if has("RING_PACKED") {
		format = "packed"
	}
	if want := 2 * max(1, g.kind.queues); len(p.Rings) != want {
		t.Errorf("%d rings, want %d", len(p.Rings), want)
	}
	for _, r := range p.Rings {
		if r.Format != format {
			t.Errorf("ring %d is %s, want %s", r.Index, r.Format, format)
		}
		if (r.Suppression == "event-idx") != has("EVENT_IDX") {
			t.Errorf("ring %d: suppression is by %s: %v", r.Index, r.Suppression, p.Features)
		}
	}
	mtu := 1500
	if has("MTU") {
		mtu = g.kind.mtu
	}
	if got := strings.TrimSpace(g.guest.MustRun(t, "cat /sys/class/net/"+g.dev+"/mtu")); got != strconv.Itoa(mtu) {
		t.Errorf("the guest's MTU is %s, want %d", got, mtu)
	}
}

// row has the guest and its peer talk, and returns a row of the table.
func (g *optionGuest) row(t *testing.T, ctx context.Context) string {
	before := [2]control.Tally{g.port(t).Counters.Drops, g.s.Port(t, "peer").Counters.Drops}
	mustPing(t, ctx, g.guest, g.peerAddr)
	mustFlood(t, ctx, g.guest, g.peerAddr, "-s", "1452")
	mustFlood(t, ctx, g.peer, g.addr)
	mustPing(t, ctx, g.guest, g.peerAddr6, "-s", "1452", "-M", "do")
	if g.kind.queues > 1 {
		g.changeQueues(t, ctx)
	}
	speed := g.iperf(t, ctx)
	a, b := startStream(ctx, g.guest, g.peer, g.peerAddr, 2), startStream(ctx, g.peer, g.guest, g.addr, 2)
	a.wait(t)
	b.wait(t)
	jumbo := g.jumbo(t, ctx)

	p := g.port(t)
	drops := [2]control.Tally{since(before[0], p.Counters.Drops), since(before[1], g.s.Port(t, "peer").Counters.Drops)}
	for i, d := range drops {
		for reason := range d {
			// TCP goes on until a ring is full. Frames in a queue that is being disabled are the
			// guest's own loss.
			if reason != "ring-full" && !(reason == "queue-disabled" && g.kind.queues > 1) {
				t.Errorf("drops at %s: %v", [2]string{g.kind.port, "peer"}[i], d)
			}
		}
	}
	if p.LastError != "" || p.Counters.Resets.Total() != 0 {
		t.Errorf("port was reset: %s, %v", p.LastError, p.Counters.Resets)
	}
	header := 10
	if slices.Contains(p.Features, "MRG_RXBUF") || slices.Contains(p.Features, "VERSION_1") {
		header = 12
	}
	return fmt.Sprintf("%s\t%s\t%d\t%s\t%d\t%.0f\t%.0f\t%s\t%v %v\t%s", g.kind.port, p.Rings[0].Format, p.Rings[0].Size, p.Rings[0].Suppression, header,
		speed[0], speed[1], jumbo, map[string]uint64(drops[0]), map[string]uint64(drops[1]), strings.Join(p.Features, " "))
}

// mustFlood is a ping that does not wait for replies before it sends more. Nor does it long for the
// last ones: what is lost shows as drops.
func mustFlood(t *testing.T, ctx context.Context, from *vm.VM, addr string, args ...string) {
	t.Helper()
	r, err := from.Ping(ctx, addr, append(args, "-c", "30", "-f")...)
	if err != nil {
		t.Fatal(err)
	}
	if r.Received == 0 {
		t.Fatalf("%s floods %s: %+v", from.Config.Name, addr, r)
	}
	if r.Received != r.Sent {
		t.Logf("%s floods %s: %+v", from.Config.Name, addr, r)
	}
}

// since is what has been counted since an earlier time.
func since(before, now control.Tally) control.Tally {
	d := control.Tally{}
	for reason, n := range now {
		if n > before[reason] {
			d[reason] = n - before[reason]
		}
	}
	return d
}

// iperf runs iperf3 to the peer and from it, and returns Mbit/s.
func (g *optionGuest) iperf(t *testing.T, ctx context.Context) (speed [2]float64) {
	for i, args := range [][]string{{"--time", "1"}, {"--time", "1", "--reverse"}} {
		r, err := g.guest.Iperf(ctx, g.peerAddr, args...)
		if err != nil {
			t.Fatal(err)
		}
		if r.Bytes == 0 {
			t.Errorf("iperf3 %v: nothing arrived", args)
		}
		speed[i] = r.BitsPerSecond / 1e6
	}
	return speed
}

// changeQueues changes the number of the guest's queue pairs.
func (g *optionGuest) changeQueues(t *testing.T, ctx context.Context) {
	for _, n := range []int{4, 1, 3, 2, 4} {
		g.guest.MustRun(t, fmt.Sprintf("ethtool -L %s combined %d", g.dev, n))
		swtest.Until(t, fmt.Sprintf("the port has %d queue pairs", n), func() bool { return g.port(t).Queues == n })
		mustFlood(t, ctx, g.guest, g.peerAddr)
		mustFlood(t, ctx, g.peer, g.addr)
	}
}

// jumbo pings and streams with the biggest frames that the guest takes.
func (g *optionGuest) jumbo(t *testing.T, ctx context.Context) string {
	// Linux takes big frames in several buffers, or in big ones, which it has if they may come
	// anyway.
	features, mtu := g.port(t).Features, 9000
	switch {
	case slices.Contains(features, "MTU"):
		mtu = g.kind.mtu
	case !slices.Contains(features, "MRG_RXBUF") && !slices.Contains(features, "GUEST_TSO4"):
		return "-"
	}
	set := func(m *vm.VM, dev string, mtu int) { m.MustRun(t, fmt.Sprintf("ip link set %s mtu %d", dev, mtu)) }
	set(g.guest, g.dev, mtu)
	set(g.peer, "eth0", mtu)
	defer set(g.peer, "eth0", 1500)
	size := strconv.Itoa(mtu - 28)
	mustFlood(t, ctx, g.guest, g.peerAddr, "-s", size, "-M", "do")
	mustPing(t, ctx, g.peer, g.addr, "-s", size, "-M", "do")
	a, b := startStream(ctx, g.guest, g.peer, g.peerAddr, 2), startStream(ctx, g.peer, g.guest, g.addr, 2)
	a.wait(t)
	b.wait(t)
	return strconv.Itoa(mtu)
}
