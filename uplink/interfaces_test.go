package uplink

import (
	"errors"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// rename gives an interface another name.
func (l *lab) rename(from, to string) {
	l.t.Helper()
	k, err := netlink.LinkByName(from)
	l.check(err)
	err = netlink.LinkSetName(k, to)
	if errors.Is(err, unix.EBUSY) { // kernels before 6.2 rename only what is down
		l.check(netlink.LinkSetDown(k))
		l.check(netlink.LinkSetName(k, to))
		err = netlink.LinkSetUp(k)
	}
	l.check(err)
}

// addSpare makes an interface that the lab does not use otherwise.
func (l *lab) addSpare(name string) {
	l.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	l.check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "p"}))
	for _, n := range []string{name, name + "p"} {
		k, err := netlink.LinkByName(n)
		l.check(err)
		l.check(netlink.LinkSetUp(k))
	}
	l.t.Cleanup(func() {
		if k, err := netlink.LinkByName(name); err == nil {
			l.check(netlink.LinkDel(k))
		}
	})
}

// on is an uplink named like its interface that shares the interfaces of others.
func on(name string, all *Interfaces) func(*Config) {
	return func(c *Config) { c.Name, c.Interface, c.Interfaces = name, name, all }
}

func (r *rig) wantTaken(by string) {
	r.t.Helper()
	r.waitState(StateTaken)
	if st := r.u.Status(); !strings.Contains(st.Err, "belongs to uplink "+by) {
		r.t.Errorf("status %+v, want one that names uplink %s", st, by)
	}
}

// One uplink's interface is renamed to what the other one's was called: only one of them has the
// interface. When that lets go of it, the other one goes on.
func TestRenamedToAnothersInterface(t *testing.T) {
	l := newLab(t)
	l.addSpare("spare0")
	var all Interfaces
	first := begin(t, on(nearName, &all))
	second := begin(t, on("spare0", &all))
	k, err := netlink.LinkByName("spare0")
	l.check(err)
	l.check(netlink.LinkDel(k))
	second.waitState(StateAbsent)

	l.rename(nearName, "spare0")
	second.wantTaken(nearName)
	second.waitUp(false)
	first.waitState(StateUp)
	first.wantTraffic(l)
	second.mu.Lock()
	if n := len(second.frames); n != 0 {
		t.Errorf("the second uplink received %d frames of the first one's interface", n)
	}
	second.mu.Unlock()
	f := frameOf(ethernet(farMAC, guestMAC, ethExperimental, 100, 0), vswitch.Offload{}, 1)
	if n := second.transmit(f); n != 0 {
		t.Error("the second uplink sent a frame by the first one's interface")
	}
	for range 5 {
		second.u.follow()
	}
	second.wantLogged("uplink waits for its interface", 1)

	l.check(first.u.Close())
	second.waitUp(true)
	second.wantTraffic(l)
	if st := second.u.Status(); st.State != StateUp || st.Err != "" {
		t.Errorf("status %+v", st)
	}
	l.rename("spare0", nearName) // for the lab
}

// Two names of one interface are one interface. The uplink that waits goes on when the other one
// follows its configured name to another interface.
func TestAlternativeNameIsTheSameInterface(t *testing.T) {
	l := newLab(t)
	l.near(func(k netlink.Link) error { return netlink.LinkAddAltName(k, "wan0") })
	var all Interfaces
	first := begin(t, on(nearName, &all))
	second := newRig(t, on("wan0", &all))
	if st := second.u.Status(); st.State != StateTaken {
		t.Errorf("opened as %+v", st)
	}
	second.u.Begin()
	second.wantTaken(nearName)
	second.waitUp(false)

	l.rename(nearName, "other0")
	l.addSpare(nearName)
	waitFor(t, "the first uplink follows its name", func() bool {
		st := first.u.Status()
		return st.Interface == nearName && st.State == StateUp
	})
	second.waitUp(true)
	second.wantTraffic(l)

	k, err := netlink.LinkByName(nearName)
	l.check(err)
	l.check(netlink.LinkDel(k))
	l.rename("other0", nearName) // for the lab
}

// An interface with the index of one that has gone is free: for whoever is first.
func TestIndexIsFreeWhenItsInterfaceHasGone(t *testing.T) {
	l := newLab(t)
	var all Interfaces
	first := begin(t, on(nearName, &all))
	index := first.u.Status().Index
	second := newRig(t, on("wan0", &all))
	second.u.Begin()
	second.waitState(StateAbsent)

	l.delLink()
	first.waitState(StateAbsent)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Index = "wan0", index
	l.check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wan1"}))
	t.Cleanup(func() {
		if k, err := netlink.LinkByName("wan0"); err == nil {
			l.check(netlink.LinkDel(k))
		}
	})
	waitFor(t, "the second uplink has it", func() bool { return second.u.Status().Index == index })
	if st := second.u.Status(); st.State == StateTaken {
		t.Errorf("status %+v", st)
	}
	if st := first.u.Status(); st.State != StateAbsent {
		t.Errorf("the first uplink: %+v", st)
	}
}

// An interface that moves to another namespace is nobody's here, and another one may take its name.
func TestInterfaceMovedAwayIsFree(t *testing.T) {
	l := newLab(t)
	l.addSpare("spare0")
	var all Interfaces
	first := begin(t, on(nearName, &all))
	second := begin(t, on("spare0", &all))
	l.near(func(k netlink.Link) error { return netlink.LinkSetNsFd(k, l.farNS) })
	first.waitState(StateAbsent)
	l.rename("spare0", nearName)
	first.wantTaken("spare0")
	l.check(second.u.Close())
	first.waitUp(true)
	l.rename(nearName, "spare0")
}
