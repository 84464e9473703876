package uplink

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// stationMAC returns the i-th of many addresses.
func stationMAC(i int) vswitch.MAC { return vswitch.MAC{0x02, 0x10, 0, 0, byte(i >> 8), byte(i)} }

// setAll calls SetAddresses until all is done.
func (r *rig) setAll(addresses ...vswitch.MAC) {
	for r.u.SetAddresses(addresses) {
	}
}

// Without promiscuous mode, frames come in to the interface itself, to the stations that it has
// been given, and to groups; others that come by are dropped.
func TestNotPromiscuousReceives(t *testing.T) {
	l := newLab(t)
	r := begin(t, func(c *Config) { c.Promiscuous = false })
	far := l.station(false)
	frame := func(dst net.HardwareAddr) []byte { return ethernet(dst, farMAC, ethExperimental, 300, int(dst[5])) }
	end := frame(nearMAC)
	received := func() (dsts []string) {
		t.Helper()
		dropped := r.counters.Drops(vswitch.DropOtherHost)
		all := []net.HardwareAddr{
			guestMAC, macOf(1), {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x33, 0x33, 0, 0, 0, 1}, nearMAC,
		}
		for _, dst := range all {
			far.send(frame(dst))
			far.send(tagged(frame(dst), unix.ETH_P_8021Q, 5))
		}
		waitFor(t, "all of them", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.frames) > 0 && bytes.Equal(r.frames[len(r.frames)-1].data, tagged(end, unix.ETH_P_8021Q, 5))
		})
		r.mu.Lock()
		defer r.mu.Unlock()
		for i := 0; i < len(r.frames); i += 2 {
			dsts = append(dsts, net.HardwareAddr(r.frames[i].data[:6]).String())
		}
		if n := int(r.counters.Drops(vswitch.DropOtherHost) - dropped); n+len(r.frames) != 2*len(all) {
			t.Errorf("%d frames received, %d dropped, of %d", len(r.frames), n, 2*len(all))
		}
		r.frames = nil
		return dsts
	}
	const broadcast, multicast = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"
	guest, other, own := guestMAC.String(), stationMAC(1).String(), nearMAC.String()
	check := func(when string, want ...string) {
		t.Helper()
		if got := received(); !slices.Equal(got, want) {
			t.Errorf("%s: received %v, want %v", when, got, want)
		}
	}
	check("no address", broadcast, multicast, own)
	r.setAll(vswitch.MAC(guestMAC))
	check("one address", guest, broadcast, multicast, own)
	r.setAll(vswitch.MAC(guestMAC), stationMAC(1), stationMAC(1))
	check("two addresses", guest, other, broadcast, multicast, own)
	r.setAll(stationMAC(1))
	check("the first is gone", other, broadcast, multicast, own)

	l.delLink()
	r.waitUp(false)
	l.addLink()
	r.waitUp(true)
	far = l.station(false)
	check("another interface", other, broadcast, multicast, own)
	r.setAll()
	check("none left", broadcast, multicast, own)
}

// newFilteringLink makes an interface for the uplink that filters addresses: a macvlan upon
// a veth.
func newFilteringLink(t *testing.T) {
	t.Helper()
	quietIPv6()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "below0"
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "below1"})
	if err != nil {
		t.Fatal(err)
	}
	below, err := netlink.LinkByName("below0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(below) })
	peer, err := netlink.LinkByName("below1")
	if err != nil {
		t.Fatal(err)
	}
	upon := netlink.NewLinkAttrs()
	upon.Name, upon.ParentIndex, upon.HardwareAddr = nearName, below.Attrs().Index, nearMAC
	for _, do := range []func() error{
		func() error { return netlink.LinkSetUp(below) },
		func() error { return netlink.LinkSetUp(peer) },
		func() error {
			return netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: upon, Mode: netlink.MACVLAN_MODE_PRIVATE})
		},
		func() error {
			link, err := netlink.LinkByName(nearName)
			if err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		},
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
}

// filters returns the addresses that the uplink's interface filters for besides its own, and its
// promiscuity and state of receiving all groups.
func filters(t *testing.T) (unicast []string, promiscuity int, allMulti bool) {
	t.Helper()
	link, err := netlink.LinkByName(nearName)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := netlink.NeighList(link.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.LinkIndex == link.Attrs().Index && e.HardwareAddr[0]&1 == 0 {
			unicast = append(unicast, e.HardwareAddr.String())
		}
	}
	slices.Sort(unicast)
	return unicast, link.Attrs().Promisc, allGroups(t, link.Attrs().Index)
}

// allGroups reports whether an interface receives all multicast. Package netlink does not read
// that.
func allGroups(t *testing.T, index int) bool {
	t.Helper()
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	answers, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil || len(answers) != 1 {
		t.Fatalf("%d answers, %v", len(answers), err)
	}
	attrs, err := nl.ParseRouteAttr(answers[0][unix.SizeofIfInfomsg:])
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.IFLA_ALLMULTI {
			return binary.NativeEndian.Uint32(a.Value) > 0
		}
	}
	t.Fatal("the kernel does not say")
	return false
}

// An interface that can filter is given its filter, follows changes, and is as before after Close.
func TestInterfaceIsToldAddresses(t *testing.T) {
	newFilteringLink(t)
	r := begin(t, func(c *Config) { c.Promiscuous = false })
	check := func(when string, all bool, want ...string) {
		t.Helper()
		unicast, promiscuity, allMulti := filters(t)
		if !slices.Equal(unicast, want) || promiscuity != 0 || allMulti != all {
			t.Errorf("%s: addresses %v, want %v; promiscuity %d, all groups %v", when, unicast, want, promiscuity, allMulti)
		}
	}
	a, b, c := stationMAC(1), stationMAC(2), stationMAC(3)
	check("at start", true)
	r.setAll(a, b)
	check("two", true, a.String(), b.String())
	r.setAll(b, c)
	check("another two", true, b.String(), c.String())
	if n := r.u.Status().Addresses; n != 2 {
		t.Errorf("Status says %d addresses", n)
	}
	if err := r.u.Close(); err != nil {
		t.Fatal(err)
	}
	check("after Close", false)
	r.setAll(a) // too late, but harmless
	check("after Close", false)
}

// There is a limit, the first addresses come first, and the caller is asked to call again rather
// than kept.
func TestInterfaceIsToldSoManyAddresses(t *testing.T) {
	newFilteringLink(t)
	r := begin(t, func(c *Config) { c.Promiscuous = false })
	var all []vswitch.MAC
	for i := range MaxAddresses + 10 {
		all = append(all, stationMAC(i))
	}
	rounds := 1
	for r.u.SetAddresses(all) {
		rounds++
	}
	if rounds != MaxAddresses/addressChanges {
		t.Errorf("%d calls for %d addresses, of %d each", rounds, MaxAddresses, addressChanges)
	}
	unicast, _, _ := filters(t)
	if len(unicast) != MaxAddresses || unicast[0] != all[0].String() || unicast[MaxAddresses-1] != all[MaxAddresses-1].String() {
		t.Errorf("the interface has been given %d addresses", len(unicast))
	}
	const warning = "more stations than"
	if st := r.u.Status(); st.Addresses != MaxAddresses || st.LeftOut != 10 || r.logged(warning) != 1 {
		t.Errorf("%d addresses, %d left out, %d warnings", st.Addresses, st.LeftOut, r.logged(warning))
	}
	r.setAll(all...)
	if n := r.logged(warning); n != 1 {
		t.Errorf("warned %d times", n)
	}
	r.setAll(all[10:]...)
	if unicast, _, _ := filters(t); len(unicast) != MaxAddresses || unicast[0] != all[10].String() || r.u.Status().LeftOut != 0 {
		t.Errorf("after that, %d addresses from %s on", len(unicast), unicast[0])
	}
}

// A promiscuous uplink sets no filter on its interface.
func TestPromiscuousIsToldNoAddresses(t *testing.T) {
	newFilteringLink(t)
	r := begin(t, nil)
	r.setAll(stationMAC(1))
	if unicast, promiscuity, _ := filters(t); len(unicast) != 0 || promiscuity != 1 {
		t.Errorf("addresses %v, promiscuity %d", unicast, promiscuity)
	}
}

func TestMACSet(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range MaxAddresses + 1 {
		var in []vswitch.MAC
		for range n {
			in = append(in, stationMAC(rnd.IntN(1<<16)))
		}
		s := newMACSet(in)
		for _, a := range in {
			if !s.has(macKey(a)) {
				t.Fatalf("%s is missing among %d", a, n)
			}
		}
		for range 100 {
			a := stationMAC(rnd.IntN(1 << 16))
			if s.has(macKey(a)) != slices.Contains(in, a) {
				t.Fatalf("%s among %d: %v", a, n, s.has(macKey(a)))
			}
		}
	}
	if newMACSet(nil).has(0) {
		t.Error("the empty set has the zero address")
	}
}

func macOf(i int) net.HardwareAddr {
	a := stationMAC(i)
	return a[:]
}
