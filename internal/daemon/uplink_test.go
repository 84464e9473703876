package daemon

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// addVeth makes a pair of interfaces, both up. They are removed when the test ends.
func (l *lab) addVeth(name, peer string) {
	l.Helper()
	l.makeVeth(name, peer)
	for _, n := range []string{name, peer} {
		l.must(netlink.LinkSetUp(l.link(n)))
	}
}

// addQuietVeth is addVeth with interfaces on which the kernel sends no frames, as IPv6 does.
func (l *lab) addQuietVeth(name, peer string) {
	l.Helper()
	l.makeVeth(name, peer)
	for _, n := range []string{name, peer} {
		l.must(os.WriteFile("/proc/sys/net/ipv6/conf/"+n+"/disable_ipv6", []byte("1"), 0))
		l.must(netlink.LinkSetUp(l.link(n)))
	}
}

// makeVeth is addVeth without setting the interfaces up.
func (l *lab) makeVeth(name, peer string) {
	l.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	l.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}))
	l.Cleanup(func() { l.delLink(name) })
}

func (l *lab) link(name string) netlink.Link {
	l.Helper()
	k, err := netlink.LinkByName(name)
	if err != nil {
		l.Fatal(err)
	}
	return k
}

func (l *lab) delLink(name string) {
	if k, err := netlink.LinkByName(name); err == nil {
		l.must(netlink.LinkDel(k))
	}
}

// waits waits until a port is in state waiting with an error that contains text.
func (l *lab) waits(port, text string) {
	l.Helper()
	l.state(port, control.StateWaiting)
	l.until(port+" shows "+text, func() bool { return strings.Contains(l.port(port).LastError, text) })
	if p := l.port(port); p.Link == "up" || !slices.Contains(control.Links, p.Link) {
		l.Errorf("the interface of %s, which waits, is %q", port, p.Link)
	}
}

// A switch starts without an uplink's interface, and its guests exchange frames. The uplink starts
// to work when the interface appears.
func TestStartsWithoutInterface(t *testing.T) {
	l := newLab(t, "[port.a]\n[port.b]\n[uplink.lan]\ninterface = \"nic0\"\n")
	l.waits("lan", `there is no network interface "nic0"`)
	a, _ := l.talk("a", "b") // which notice every frame that is not from the other
	l.addQuietVeth("nic0", "far0")
	l.state("lan", control.StateRunning)
	if p := l.port("lan"); p.LastError != "" || p.Link != "up" {
		t.Errorf("a running uplink shows the error %q and link %q", p.LastError, p.Link)
	}
	l.must(netlink.LinkSetDown(l.link("far0")))
	l.waits("lan", "no carrier")
	l.must(netlink.LinkSetDown(l.link("nic0")))
	l.waits("lan", "set down")
	l.delLink("nic0")
	l.waits("lan", `there is no network interface "nic0"`)
	l.must(a.Await(100))
	if n := strings.Count(l.log.String(), "there is no interface of this name"); n != 1 {
		t.Errorf("the missing interface is logged %d times, want 1", n)
	}
}

// A reload can add an uplink whose interface does not exist, and change an uplink that is waiting.
func TestReloadWithoutInterface(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	const lan = "[port.a]\n[uplink.lan]\ninterface = \"nic0\"\n"
	l.reload(lan, "port lan added")
	l.waits("lan", "nic0")
	l.reload(lan+"isolated = true\n", "port lan reconfigured")
	l.reload("[port.a]\n[uplink.lan]\ninterface = \"nic1\"\n", "port lan moved to interface nic1", "port lan reconfigured")
	l.waits("lan", "nic1")
	l.addVeth("nic1", "far1")
	l.state("lan", control.StateRunning)
}

// A check finds two names of one interface.
func TestCheckWarnsOfOneInterfaceWithTwoNames(t *testing.T) {
	l := newLab(t, "")
	l.addVeth("nic0", "far0")
	l.must(netlink.LinkAddAltName(l.link("nic0"), "wan0"))
	file := filepath.Join(l.dir, "f")
	doc := "[uplink.one]\ninterface = \"nic0\"\n[uplink.two]\ninterface = \"wan0\"\n"
	l.must(os.WriteFile(file, []byte(doc), 0o600))
	cfg, errs := Kinds().Examine(file, config.Flags{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	want := file + ":4: uplink.two.interface: wan0 is the interface of uplink.one already, under another name"
	if got := cfg.Warnings.Error(); !strings.HasPrefix(got, want) {
		t.Errorf("warnings %q, want %q", got, want)
	}
}

// If an interface is renamed to that of another uplink, this second uplink waits until the first is
// removed.
func TestTwoUplinksOneInterface(t *testing.T) {
	l := newLab(t, "[uplink.one]\ninterface = \"nic0\"\n[uplink.two]\ninterface = \"nic1\"\n")
	l.addVeth("nic0", "far0")
	l.state("one", control.StateRunning)
	k := l.link("nic0")
	l.must(netlink.LinkSetDown(k)) // kernels before 6.2 rename only what is down
	l.must(netlink.LinkSetName(k, "nic1"))
	l.must(netlink.LinkSetUp(k))
	l.waits("two", "belongs to uplink one")
	l.state("one", control.StateRunning)
	l.reload("[uplink.two]\ninterface = \"nic1\"\n", "port one removed")
	l.state("two", control.StateRunning)
	l.delLink("nic1")
}

// LACP, EAPOL and LLDP frames are forwarded from uplink to uplink if group_fwd_mask includes their
// addresses. A reload changes the mask without interrupting the uplinks.
func TestReservedAddressesThroughUplinks(t *testing.T) {
	const one, two = "[uplink.one]\ninterface = \"nic0\"\n", "[uplink.two]\ninterface = \"nic1\"\n"
	l := newLab(t, one+two)
	w0, w1 := l.addWire("nic0", "far0"), l.addWire("nic1", "far1")
	l.state("one", control.StateRunning)
	l.state("two", control.StateRunning)
	src := vswitch.MAC{2, 0, 0, 0, 0, 9}
	frames := map[int][]byte{}
	for last, etype := range map[byte]uint16{0x2: 0x8809, 0x3: 0x888e, 0xe: 0x88cc} {
		frames[int(last)] = frame(vswitch.MAC{0x01, 0x80, 0xc2, 0, 0, last}, src, etype, "pdu")
	}
	end := frame(vswitch.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, src, etypeExperimental, "end")
	check := func(what string, pass ...int) {
		t.Helper()
		for _, last := range []int{0x2, 0x3, 0xe} {
			w0.send(frames[last])
		}
		w0.send(end)
		var want [][]byte
		for _, last := range pass {
			want = append(want, frames[last])
		}
		if got := w1.gets(end); !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%s: %x passed, want %x", what, got, want)
		}
	}
	check("without a mask")
	l.reload(one+"group_fwd_mask = 0x4004\n"+two, "port one reconfigured")
	if got := l.port("one").Flags.Get("group_fwd_mask"); got != "16388" {
		t.Errorf("the control API shows mask %s", got)
	}
	check("0x4004", 0x2, 0xe)
	l.reload(one+two+"group_fwd_mask = 0xffff\n", "port one reconfigured", "port two reconfigured")
	check("with the other port's mask")
	l.reload(one+"group_fwd_mask = 0xffff\n"+two, "port one reconfigured", "port two reconfigured")
	check("0xffff", 0x2, 0x3, 0xe)
	if got := l.port("one").Counters.Drops["reserved-address"]; got != 3+1+3 {
		t.Errorf("%d frames were dropped", got)
	}
}

// Frames between a remote machine and the host go to no guest, neither before nor after the
// interface's address changes, and not to a guest that sends from that address either.
func TestHostsTrafficStaysWithTheHost(t *testing.T) {
	l := newLab(t, "[uplink.lan]\ninterface = \"nic0\"\n[uplink.guest]\ninterface = \"nic1\"\n")
	far, guest := l.addWire("nic0", "far0"), l.addWire("nic1", "far1")
	l.state("lan", control.StateRunning)
	l.state("guest", control.StateRunning)
	other := vswitch.MAC{2, 0, 0, 0, 0, 9}
	end := frame(vswitch.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, other, etypeExperimental, "end")
	check := func(what string) {
		t.Helper()
		host := vswitch.MAC(l.link("nic0").Attrs().HardwareAddr)
		l.until("the address is held", func() bool { return slices.Contains(l.port("lan").HostMACs, host.String()) })
		guest.send(frame(other, host, etypeExperimental, "theft"))
		far.gets(frame(other, host, etypeExperimental, "theft"))
		far.send(frame(host, other, etypeExperimental, "secret"))
		far.send(end)
		if got := guest.gets(end); len(got) != 0 {
			t.Errorf("%s: the guest got %x", what, got)
		}
		toHost := frame(host, vswitch.MAC{2, 0, 0, 0, 0, 8}, etypeExperimental, "to the host")
		guest.send(toHost) // transmitted on the wire, like a frame from another machine
		far.gets(toHost)
	}
	check("at first")
	if n := l.port("lan").Counters.Drops["to-host"]; n != 1 {
		t.Errorf("%d frames are counted as to-host, want 1", n)
	}
	l.must(netlink.LinkSetHardwareAddr(l.link("nic0"), net.HardwareAddr{2, 0, 0, 0, 0, 0x77}))
	check("with another address")
	l.reload("[uplink.lan]\ninterface = \"nic0\"\ntag = 5\n[uplink.guest]\ninterface = \"nic1\"\ntag = 5\n",
		"port guest reconfigured", "port lan reconfigured")
	check("in another VLAN")
}

// A guest cannot be given the address of the host.
func TestGuestWithTheHostsAddress(t *testing.T) {
	const lan = "[uplink.lan]\ninterface = \"nic0\"\n"
	l := newLab(t, lan)
	l.addVeth("nic0", "far0")
	l.state("lan", control.StateRunning)
	mac := l.link("nic0").Attrs().HardwareAddr.String()
	l.until("the address is held", func() bool { return slices.Contains(l.port("lan").HostMACs, mac) })
	l.refuses(lan+"[port.vm]\nmac = \""+mac+"\"\n", "address is pinned to another port: "+mac)

	// A guest that had the address before the interface keeps it, and the conflict is reported.
	l.reload(lan+"[port.vm]\nmac = \"02:00:00:00:00:78\"\n", "port vm added")
	l.must(netlink.LinkSetHardwareAddr(l.link("nic0"), net.HardwareAddr{2, 0, 0, 0, 0, 0x78}))
	l.until("the conflict is reported", func() bool {
		return strings.Contains(l.port("lan").LastError, "02:00:00:00:00:78") && strings.Contains(l.log.String(), "cannot keep the host's traffic from guests")
	})
	if s := l.port("lan").State; s != control.StateRunning {
		t.Errorf("the uplink is %s", s)
	}
	l.reload(lan, "port vm removed")
	l.until("the address is held", func() bool { return l.port("lan").LastError == "" })
}

// A configuration that gives a guest the address of an existing interface is refused by a check, at
// start and by a reload, even if uplink and guest are added at the same time. In another VLAN the
// guest may have the address.
func TestConfigurationWithTheHostsAddressIsRefused(t *testing.T) {
	l := newLab(t, "")
	l.addVeth("nic0", "far0")
	l.must(netlink.LinkAddAltName(l.link("nic0"), "wan0"))
	mac := l.link("nic0").Attrs().HardwareAddr.String()
	const lan = "[uplink.lan]\ninterface = \"nic0\"\ntag = 5\n"
	cfg := lan + "[port.vm]\nmac = \"" + mac + "\"\n"
	want := "address is pinned to another port: " + mac + " in VLAN 5, uplink.lan"
	if _, errs := l.examine(cfg); errs.Error() != "f:9: port.vm.mac: "+want {
		t.Errorf("the check finds %v", errs)
	}
	l.refuses(cfg, want)
	if d, err := New(l.load(cfg), l.d.log); err == nil {
		d.close()
		t.Error("a daemon starts with it")
	} else if !strings.Contains(err.Error(), want) {
		t.Errorf("start: %v", err)
	}
	l.reload(cfg+"tag = 6\n", "port lan added", "port vm added")
	// The host's address is none that the uplink's guards are about.
	l.reload(lan+"allowed_macs = [\"02:00:00:00:00:01\"]\n", "port lan reconfigured", "port vm removed")
	// Of two uplinks on one interface, one waits.
	l.reload(lan+"[uplink.two]\ninterface = \"wan0\"\n", "port lan reconfigured", "port two added")
}

// An uplink that is not promiscuous adds the guests' addresses to its interface's filter and
// removes them again, and adds no station on its own side.
func TestUplinkNotPromiscuous(t *testing.T) {
	l := newLab(t, "[port.a]\n[port.b]\n[uplink.lan]\ninterface = \"nic0\"\npromiscuous = false\n")
	l.addWire("nic0", "far0")
	l.state("lan", control.StateRunning)
	addresses := func() int { return l.port("lan").Reception.Addresses }
	a, b := l.connect("a", 1), l.connect("b", 2)
	a.Talk(b.MAC(), 16)
	a.Start()
	b.Start()
	l.must(a.Await(100))
	l.until("the filter of the interface has both guests", func() bool { return addresses() == 2 })
	l.must(a.Drain())
	l.must(a.Leave())
	l.until("the filter of the interface has one guest", func() bool { return addresses() == 1 })
	// The addresses are set again on a new interface.
	l.delLink("nic0")
	l.waits("lan", "nic0")
	l.addWire("nic0", "far0")
	l.until("the filter of the new interface has one guest", func() bool { return addresses() == 1 })
	l.must(b.Leave())
	l.until("the filter of the interface has no guest", func() bool { return addresses() == 0 })
	l.reload("[port.a]\n[port.b]\n", "port lan removed")
}
