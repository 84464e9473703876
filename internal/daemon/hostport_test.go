package daemon

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// exists reports whether there is an interface of that name.
func exists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

// has reports whether an interface has an address.
func (l *lab) has(name, address string) bool {
	l.Helper()
	list, err := netlink.AddrList(l.link(name), netlink.FAMILY_ALL)
	l.must(err)
	return slices.ContainsFunc(list, func(a netlink.Addr) bool { return a.IPNet.String() == address })
}

// quiet keeps interfaces that are made from now on from sending by themselves.
func (l *lab) quiet() {
	l.Helper()
	const file = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
	was, err := os.ReadFile(file)
	l.must(err)
	l.must(os.WriteFile(file, []byte("1"), 0))
	l.Cleanup(func() { _ = os.WriteFile(file, was, 0) })
}

// The host and the wire talk to each other by a host port: what either sends reaches the other one,
// and the host's address is held.
func TestHostPortCarriesFrames(t *testing.T) {
	l := newLab(t, "[uplink.lan]\ninterface = \"nic0\"\n")
	l.quiet()
	far := l.addWire("nic0", "far0")
	l.reload("[uplink.lan]\ninterface = \"nic0\"\n[host.br0]\n", "port br0 added")
	l.state("lan", control.StateRunning)
	l.state("br0", control.StateRunning)
	p := l.port("br0")
	mac := l.link("br0").Attrs().HardwareAddr
	if p.Kind != control.KindHost || p.Interface != "br0" || p.MTU != 1500 || !slices.Equal(p.HostMACs, []string{mac.String()}) {
		t.Errorf("shown: %+v", p)
	}
	host := l.listen("br0")
	other := vswitch.MAC{2, 0, 0, 0, 0, 9}
	in := frame(vswitch.MAC(mac), other, etypeExperimental, "in")
	far.send(in)
	host.gets(in)
	out := frame(other, vswitch.MAC(mac), etypeExperimental, "out")
	host.send(out)
	far.gets(out)
	// Somebody on the wire who uses the host's address gets nothing.
	far.send(frame(other, vswitch.MAC(mac), etypeExperimental, "theft"))
	far.send(in)
	host.gets(in)

	l.must(netlink.LinkSetHardwareAddr(l.link("br0"), net.HardwareAddr{2, 0, 0, 0, 0, 0x77}))
	l.until("the new address is held", func() bool { return slices.Equal(l.port("br0").HostMACs, []string{"02:00:00:00:00:77"}) })
	l.must(netlink.LinkSetDown(l.link("br0")))
	l.waits("br0", "the interface is set down")
}

// The interface is as configured when it is made, and the other end is for nobody else: no
// addresses, no ARP, no IPv6.
func TestHostPortIsMadeAsConfigured(t *testing.T) {
	l := newLab(t, "[host.br0]\naddresses = [\"10.0.0.1/24\", \"fd00::1/64\"]\nmac = \"02:00:00:00:00:51\"\nmtu = 9000\n")
	l.state("br0", control.StateRunning)
	a := l.link("br0").Attrs()
	if a.HardwareAddr.String() != "02:00:00:00:00:51" || a.MTU != 9000 || a.Flags&net.FlagUp == 0 {
		t.Errorf("made: %+v", a)
	}
	if got := strings.Join(l.port("br0").Addresses, " "); !strings.Contains(got, "10.0.0.1/24") || !strings.Contains(got, "fd00::1/64") {
		t.Errorf("shown: %s", got)
	}
	peer := l.link("vs-br0")
	if p := peer.Attrs(); p.MTU != 9000 || p.Flags&net.FlagUp == 0 || p.RawFlags&0x80 == 0 { // IFF_NOARP
		t.Errorf("the other end: %+v", p)
	}
	if b, err := os.ReadFile("/proc/sys/net/ipv6/conf/vs-br0/disable_ipv6"); err != nil || string(b) != "1\n" {
		t.Errorf("the other end's disable_ipv6: %s, %v", b, err)
	}
	if list, err := netlink.AddrList(peer, netlink.FAMILY_ALL); err != nil || len(list) > 0 {
		t.Errorf("the other end's addresses: %v, %v", list, err)
	}
}

// A reload adds, changes and removes host ports. A reload that is refused leaves nothing behind.
func TestReloadOfHostPorts(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	const guest = "[port.a]\n"
	const wrong = guest + "[port.b]\nsocket = \"$nowhere/b\"\n"
	l.refuses(wrong+"[host.br0]\n", "there is no directory")
	if exists("br0") || exists("vs-br0") {
		t.Fatal("a reload that was refused has left an interface behind")
	}
	l.reload(guest+"[host.br0]\naddresses = [\"10.0.0.1/24\"]\n", "port br0 added")
	l.state("br0", control.StateRunning)
	index := l.link("br0").Attrs().Index
	mac := l.link("br0").Attrs().HardwareAddr.String()

	const changed = "[host.br0]\naddresses = [\"10.0.0.2/24\"]\nmtu = 2000\nmac = \"02:00:00:00:00:51\"\n"
	unchanged := func(what string) {
		t.Helper()
		a := l.link("br0").Attrs()
		if !l.has("br0", "10.0.0.1/24") || l.has("br0", "10.0.0.2/24") || a.MTU != 1500 || a.HardwareAddr.String() != mac {
			t.Errorf("%s: %+v", what, a)
		}
	}
	byHand := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 0, 0, 3), Mask: net.CIDRMask(24, 32)}}
	l.must(netlink.AddrAdd(l.link("br0"), byHand))
	l.refuses(wrong+changed, "there is no directory")
	unchanged("after a refused reload")
	l.reload(guest+changed, "port br0 has MAC address 02:00:00:00:00:51", "port br0 has another MTU", "port br0 has other addresses")
	a := l.link("br0").Attrs()
	if l.has("br0", "10.0.0.1/24") || !l.has("br0", "10.0.0.2/24") || !l.has("br0", "10.0.0.3/24") || a.MTU != 2000 || a.HardwareAddr.String() != "02:00:00:00:00:51" || a.Index != index {
		t.Errorf("changed: %+v", a)
	}
	l.until("the other MTU is known", func() bool { return l.port("br0").MTU == 2000 })

	// What somebody has changed by hand stays, if it is not what the reload is about.
	l.must(netlink.LinkSetMTU(l.link("br0"), 1800))
	l.reload(guest+changed+"isolated = true\n", "port br0 reconfigured")
	if mtu := l.link("br0").Attrs().MTU; mtu != 1800 {
		t.Errorf("the MTU is %d", mtu)
	}
	// An interface that somebody has removed is made again.
	l.delLink("br0")
	l.until("the loss is told", func() bool {
		p := l.port("br0")
		return p.State == control.StateError && strings.Contains(p.LastError, "somebody has removed the interface")
	})
	l.reload(guest + changed + "isolated = true\n")
	l.state("br0", control.StateRunning)
	if !l.has("br0", "10.0.0.2/24") || l.link("br0").Attrs().MTU != 2000 {
		t.Error("the interface is not made as configured")
	}
	l.reload(guest, "port br0 removed")
	if exists("br0") || exists("vs-br0") {
		t.Error("the interface is left behind")
	}
}

// An interface that somebody has renamed goes on, through reloads about other ports too, and is
// removed with its port.
func TestRenamedHostPortGoesOn(t *testing.T) {
	l := newLab(t, "[host.br0]\n")
	l.state("br0", control.StateRunning)
	k := l.link("br0")
	l.must(netlink.LinkSetDown(k)) // kernels before 6.2 rename only what is down
	l.must(netlink.LinkSetName(k, "lan0"))
	l.must(netlink.LinkSetUp(k))
	l.state("br0", control.StateRunning)
	l.reload("[host.br0]\n[port.a]\n", "port a added")
	l.refuses("[host.br0]\nmtu = 2000\n[port.a]\n", "there is a network interface vs-br0 already")
	l.reload("[port.a]\n", "port br0 removed")
	if exists("lan0") || exists("vs-br0") {
		t.Error("the interface is left behind")
	}
}

// An interface that vswitchd has not made is refused, by a check and at start, and is left alone:
// of the port's name, of its other end's, and one that has the port's name as another name.
func TestForeignInterfaceIsNoHostPort(t *testing.T) {
	l := newLab(t, "")
	const cfg = "[host.br0]\naddresses = [\"10.0.0.1/24\"]\n"
	try := func(what, want string) {
		t.Helper()
		want += ", and vswitchd has not made it"
		if _, errs := l.examine(cfg); !strings.HasPrefix(errs.Error(), "f:5: host.br0: "+want) {
			t.Errorf("%s: the check finds %v", what, errs)
		}
		l.refuses(cfg, want)
	}
	l.makeVeth("br0", "far0")
	index := l.link("br0").Attrs().Index
	try("the port's name", "there is a network interface br0 already")
	l.must(netlink.LinkSetName(l.link("br0"), "nic0"))
	l.must(netlink.LinkAddAltName(l.link("nic0"), "br0"))
	try("another name", "there is a network interface br0, which is another name of nic0 already")
	l.must(netlink.LinkDelAltName(l.link("nic0"), "br0"))
	l.must(netlink.LinkSetName(l.link("nic0"), "vs-br0"))
	try("the other end's name", "there is a network interface vs-br0 already")
	if l.has("vs-br0", "10.0.0.1/24") || l.link("vs-br0").Attrs().Index != index {
		t.Error("the interface has changed")
	}
	l.delLink("vs-br0")
	l.reload(cfg, "port br0 added")
	// While it is there, it is ours to the check, too.
	if _, errs := l.examine(cfg); len(errs) > 0 {
		t.Errorf("the check finds %v", errs)
	}
}

// The interface goes with the port, and with the daemon. With persist it stays, with what somebody
// has done to it, and is taken over by the next daemon.
func TestHostPortIsRemovedUnlessItPersists(t *testing.T) {
	t.Run("removed", func(t *testing.T) {
		newLab(t, "[host.br0]\n").state("br0", control.StateRunning)
	})
	if exists("br0") || exists("vs-br0") {
		t.Fatal("the interface is left behind")
	}
	var mac string
	const persist = "[host.br0]\npersist = true\nmtu = 2000\n"
	t.Run("stays", func(t *testing.T) {
		l := newLab(t, persist)
		l.state("br0", control.StateRunning)
		mac = l.link("br0").Attrs().HardwareAddr.String()
		l.must(netlink.AddrAdd(l.link("br0"), &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 1, 0, 1), Mask: net.CIDRMask(24, 32)}}))
	})
	if !exists("br0") {
		t.Fatal("the interface is gone")
	}
	t.Run("taken over, then removed", func(t *testing.T) {
		l := newLab(t, persist)
		l.state("br0", control.StateRunning)
		if l.link("br0").Attrs().HardwareAddr.String() != mac || !l.has("br0", "10.1.0.1/24") {
			t.Error("it is another interface")
		}
		l.reload("[host.br0]\nmtu = 2000\n", "port br0 reconfigured")
	})
	if exists("br0") || exists("vs-br0") {
		t.Error("the interface is left behind")
	}
}

// A start that fails leaves an interface as it was that it has taken over.
func TestFailedStartLeavesPersistentInterface(t *testing.T) {
	t.Run("stays", func(t *testing.T) {
		newLab(t, "[host.br0]\npersist = true\n").state("br0", control.StateRunning)
	})
	l := newLab(t, "")
	defer l.delLink("br0")
	d, err := New(l.load("[host.br0]\nmtu = 3000\naddresses = [\"10.0.0.1/24\"]\n[host.br1]\n[uplink.x]\ninterface = \"lo\"\n"), l.d.log)
	if err == nil {
		d.close()
		t.Fatal("it starts")
	}
	l.refuses("[host.br0]\nmtu = 3000\naddresses = [\"10.0.0.1/24\"]\n[host.br1]\n[port.b]\nsocket = \"$nowhere/b\"\n", "there is no directory")
	if l.link("br0").Attrs().MTU != 1500 || l.has("br0", "10.0.0.1/24") || exists("br1") {
		t.Error("a start that has failed has changed interfaces")
	}
}

// Two daemons do not serve one host port.
func TestHostPortHasOneDaemon(t *testing.T) {
	l := newLab(t, "[host.br0]\n")
	l.state("br0", control.StateRunning)
	d, err := New(l.load("[host.br0]\n"), l.d.log)
	if err == nil {
		d.close()
	}
	if err == nil || !strings.Contains(err.Error(), "host port br0 belongs to another process") {
		t.Errorf("a second daemon: %v", err)
	}
	l.state("br0", control.StateRunning)
	if !exists("br0") {
		t.Error("the interface is gone")
	}
}

// Mistakes in a host port's table are told with their places.
func TestHostPortMistakes(t *testing.T) {
	l := newLab(t, "")
	_, errs := l.examine("[host.br0]\naddresses = [\"10.0.0.1\", \"fd00::1/64\"]\n[host.br1]\naddresses = [\"fd00::1/64\"]\nmtu = 1000\n" +
		"[host.br2]\naddresses = [\"10.0.0.1/24\", \"10.0.0.1/24\"]\nqueues = 2\n[uplink.lan]\ninterface = \"br0\"\n")
	for _, text := range []string{
		`f:6: host.br0.addresses: element 0 is "10.0.0.1", must be an address and the length of its network's prefix such as 10.0.0.1/24`,
		`f:9: host.br1.mtu: is 1000, must be at least 1280 for the IPv6 address fd00::1/64`,
		`f:11: host.br2.addresses: element 1 is 10.0.0.1/24, which is there already`,
		`f:12: host.br2.queues: belongs to [port.NAME], a host port is a network interface that vswitchd makes`,
		`f:14: uplink.lan.interface: br0 is the interface of host.br0 already`,
	} {
		if !slices.ContainsFunc(errs, func(e config.Error) bool { return e.Error() == text }) {
			t.Errorf("not told: %s", text)
		}
	}
	if t.Failed() {
		t.Log(errs)
	}
}
