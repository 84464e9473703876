package uplink

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// A registrar is the switch's double for SetLocal.
type registrar struct {
	mu    sync.Mutex
	local localAddresses
	calls int
	err   error
}

func (g *registrar) set(own, others []vswitch.MAC) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.local, g.calls = localAddresses{own, others}, g.calls+1
	return g.err
}

func (g *registrar) want(t *testing.T, what string, own, others []net.HardwareAddr) {
	t.Helper()
	macs := func(hws []net.HardwareAddr) (list []vswitch.MAC) {
		for _, hw := range hws {
			list = append(list, vswitch.MAC(hw))
		}
		return list
	}
	want := localAddresses{macs(own), macs(others)}
	waitFor(t, what, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.local.equal(want)
	})
}

// With HostEnd, the host's address is that of the pair's other end, as it changes, and there is
// none while that end is in another namespace.
func TestLocalAddressOfHostEnd(t *testing.T) {
	l := newLab(t)
	var g registrar
	begin(t, func(c *Config) { c.SetLocal, c.HostEnd = g.set, true })
	g.want(t, "no address", nil, nil)
	here, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	l.check(err)
	defer unix.Close(here)
	l.far(func(k netlink.Link) error { return netlink.LinkSetNsFd(k, here) })
	end, err := netlink.LinkByName(farName)
	l.check(err)
	g.want(t, "the other end's address", []net.HardwareAddr{farMAC}, nil)
	second := net.HardwareAddr{2, 0, 0, 0, 0, 0x21}
	l.check(netlink.LinkSetHardwareAddr(end, second))
	g.want(t, "the changed address", []net.HardwareAddr{second}, nil)
}

// The host's addresses are reported as the interface gets them, and withdrawn as they go.
func TestLocalAddresses(t *testing.T) {
	l := newLab(t)
	var g registrar
	r := begin(t, func(c *Config) { c.SetLocal = g.set })
	g.want(t, "the interface's own address", []net.HardwareAddr{nearMAC}, nil)

	second := net.HardwareAddr{2, 0, 0, 0, 0, 0x21}
	l.near(func(k netlink.Link) error { return netlink.LinkSetHardwareAddr(k, second) })
	g.want(t, "the changed address", []net.HardwareAddr{second}, nil)

	// A macvlan's address, or any other that the interface is to receive.
	more := net.HardwareAddr{2, 0, 0, 0, 0, 0x31}
	entry := func(k netlink.Link) *netlink.Neigh {
		return &netlink.Neigh{
			LinkIndex: k.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: unix.NUD_PERMANENT, HardwareAddr: more,
		}
	}
	l.near(func(k netlink.Link) error { return netlink.NeighAppend(entry(k)) })
	r.u.follow() // the kernel sends no message for this; the uplink checks now and then
	g.want(t, "a secondary address", []net.HardwareAddr{second}, []net.HardwareAddr{more})
	g.mu.Lock()
	calls := g.calls
	g.mu.Unlock()
	for range 3 {
		r.u.follow()
	}
	if g.calls != calls {
		t.Errorf("reported %d times without a change", g.calls-calls)
	}
	l.near(func(k netlink.Link) error { return netlink.NeighDel(entry(k)) })
	r.u.follow()
	g.want(t, "the secondary address is gone", []net.HardwareAddr{second}, nil)

	l.delLink()
	g.want(t, "no addresses without an interface", nil, nil)
	l.addLink()
	g.want(t, "those of the new interface", []net.HardwareAddr{nearMAC}, nil)
}

// A macvlan on the interface is the host's, in whatever namespace it is.
func TestAddressOfMacvlan(t *testing.T) {
	l := newLab(t)
	var g registrar
	r := begin(t, func(c *Config) { c.SetLocal = g.set })
	child := net.HardwareAddr{2, 0, 0, 0, 0, 0x41}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = "mv0", child
	l.near(func(k netlink.Link) error {
		attrs.ParentIndex = k.Attrs().Index
		err := netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Skip("the kernel has no macvlan")
		}
		return err
	})
	mv, err := netlink.LinkByName("mv0")
	l.check(err)
	l.check(netlink.LinkSetUp(mv))
	g.want(t, "the macvlan's address", []net.HardwareAddr{nearMAC}, []net.HardwareAddr{child})
	l.check(netlink.LinkSetNsFd(mv, l.farNS))
	l.inFar(func() error { // a device that moves is set down, and is nobody's then
		k, err := netlink.LinkByName("mv0")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(k)
	})
	waitFor(t, "the macvlan's address in another namespace", func() bool {
		r.u.follow()
		g.mu.Lock()
		defer g.mu.Unlock()
		return slices.Equal(g.local.others, []vswitch.MAC{vswitch.MAC(child)})
	})
}

// The address of the bridge that the interface is in is the host's, too.
func TestAddressOfBridge(t *testing.T) {
	l := newLab(t)
	var g registrar
	begin(t, func(c *Config) { c.SetLocal = g.set })
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 0x51}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = "br0", mac
	br := &netlink.Bridge{LinkAttrs: attrs}
	l.check(netlink.LinkAdd(br))
	t.Cleanup(func() { l.check(netlink.LinkDel(br)) })
	l.near(func(k netlink.Link) error { return netlink.LinkSetMaster(k, br) })
	g.want(t, "the bridge's address", []net.HardwareAddr{nearMAC}, []net.HardwareAddr{mac})
}

// An address that cannot be held is reported once, shown, and tried again.
func TestLocalAddressRefused(t *testing.T) {
	newLab(t)
	g := registrar{err: errors.New("it is vm1's")}
	r := begin(t, func(c *Config) { c.SetLocal = g.set })
	for range 3 {
		r.u.follow()
	}
	r.wantLogged("cannot keep the host's traffic from guests", 1)
	if st := r.u.Status(); st.State != StateUp || st.Err == "" {
		t.Errorf("status %+v", st)
	}
	g.mu.Lock()
	calls := g.calls
	g.err = nil
	g.mu.Unlock()
	if calls < 4 {
		t.Errorf("tried %d times", calls)
	}
	r.u.follow()
	if st := r.u.Status(); st.Err != "" {
		t.Errorf("status %+v", st)
	}
}
