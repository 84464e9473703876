package uplink

import (
	"bytes"
	"errors"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
)

// wantTraffic checks that frames pass both ways.
func (r *rig) wantTraffic(l *lab) {
	r.t.Helper()
	far := l.station(false)
	want := ethernet(guestMAC, farMAC, ethExperimental, 200, 1)
	far.send(want)
	if g := r.take(1)[0]; !bytes.Equal(g.data, want) {
		r.t.Error("received something else")
	}
	want = ethernet(farMAC, guestMAC, ethExperimental, 200, 2)
	if n := r.transmit(frameOf(want, vswitch.Offload{}, 1)); n != 1 {
		r.t.Errorf("refused to send: %v", r.counters.DropsByName())
	} else if got := far.receive(); !bytes.Equal(got, want) {
		r.t.Error("sent something else")
	}
}

func (r *rig) waitState(want string) {
	r.t.Helper()
	waitFor(r.t, "state "+want, func() bool { return r.u.Status().State == want })
}

// wantSetUps checks all arguments that SetUp was called with.
func (r *rig) wantSetUps(want ...bool) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ups) != len(want) {
		r.t.Errorf("SetUp was called with %v, want %v", r.ups, want)
		return
	}
	for i := range want {
		if r.ups[i] != want[i] {
			r.t.Errorf("SetUp was called with %v, want %v", r.ups, want)
			return
		}
	}
}

func (r *rig) wantLogged(sub string, n int) {
	r.t.Helper()
	waitFor(r.t, "log line "+sub, func() bool { return r.logged(sub) >= n })
	if got := r.logged(sub); got != n {
		r.t.Errorf("logged %q %d times, want %d:\n%s", sub, got, n, r.log.String())
	}
}

func TestLinkDownAndUp(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	r.wantTraffic(l)
	index := r.u.Status().Index
	for range 2 {
		l.near(netlink.LinkSetDown)
		r.waitUp(false)
		r.waitState(StateDown)
		l.near(netlink.LinkSetUp)
		r.waitUp(true)
		r.waitState(StateUp)
		r.wantTraffic(l)
	}
	r.wantSetUps(true, false, true, false, true)
	r.wantLogged("interface is down", 2)
	r.wantLogged("interface is up", 3)
	if st := r.u.Status(); st.Index != index || st.Err != "" {
		t.Errorf("status %+v", st)
	}
}

func TestCarrierLost(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	l.far(netlink.LinkSetDown)
	r.waitUp(false)
	r.waitState(StateNoCarrier)
	l.far(netlink.LinkSetUp)
	r.waitUp(true)
	r.wantTraffic(l)
	r.wantSetUps(true, false, true)
	r.wantLogged("interface is no-carrier", 1)
}

func TestOpenedWithLinkDown(t *testing.T) {
	l := newLab(t)
	l.near(netlink.LinkSetDown)
	r := newRig(t, nil)
	r.u.Begin()
	r.waitUp(false)
	l.near(netlink.LinkSetUp)
	r.waitUp(true)
	r.wantTraffic(l)
	r.wantSetUps(false, true)
}

// TestDownLinkDoesNotSpin: the error that a socket reports when its link goes down must not keep
// its worker busy.
func TestDownLinkDoesNotSpin(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	before := r.polls.Load()
	l.near(netlink.LinkSetDown)
	r.waitUp(false)
	// The far side sends into the void meanwhile; then one frame that arrives.
	l.near(netlink.LinkSetUp)
	r.waitUp(true)
	r.wantTraffic(l)
	if n := r.polls.Load() - before; n > 50 {
		t.Errorf("polled %d times for one frame", n)
	}
	// A worker that waits level-triggered must find nothing either.
	l.near(netlink.LinkSetDown)
	r.waitUp(false)
	waitFor(t, "a quiet socket", func() bool {
		r.u.sock.rx.Arm()
		fds := []unix.PollFd{{Fd: int32(r.u.sock.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return n == 0 && err == nil
	})
}

func TestInterfaceDeletedAndRecreated(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	r.wantTraffic(l)
	index := r.u.Status().Index
	for range 3 {
		l.delLink()
		r.waitUp(false)
		r.waitState(StateAbsent)
		f := frameOf(ethernet(farMAC, guestMAC, ethExperimental, 100, 0), vswitch.Offload{}, 1)
		if n := r.transmit(f); n != 0 {
			t.Errorf("Transmit took %d frames without an interface", n)
		}
		if st := r.u.Status(); st.Index != 0 || st.RingSlots != 0 {
			t.Errorf("status without an interface: %+v", st)
		}
		l.addLink()
		r.waitUp(true)
		r.wantTraffic(l)
		if st := r.u.Status(); st.Index == index || st.Interface != nearName {
			t.Errorf("status %+v, had index %d", st, index)
		} else {
			index = st.Index
		}
	}
	r.wantLogged("interface is gone", 3)
	r.wantLogged("interface is up", 4)
	r.wantSetUps(true, false, true, false, true, false, true)
}

// The switch drops what it gets from a port that is down, so no socket is read before SetUp.
func TestReceivesOnlyOnceThePortIsUp(t *testing.T) {
	l := newLab(t)
	r := newRig(t, nil)
	var early int
	setUp, start := r.u.cfg.SetUp, r.u.cfg.Start
	up := false
	r.u.cfg.SetUp = func(is bool) { up = is; setUp(is) }
	r.u.cfg.Start = func(s worker.Source) {
		if !up {
			early++
		}
		start(s)
	}
	r.u.Begin()
	r.waitUp(true)
	l.delLink()
	r.waitState(StateAbsent)
	l.addLink()
	r.waitUp(true)
	r.wantTraffic(l)
	l.near(func(link netlink.Link) error { return netlink.LinkSetMTU(link, 9000) }) // another ring
	waitFor(t, "the MTU", func() bool { return r.u.Status().MTU == 9000 })
	r.wantTraffic(l)
	if err := r.u.Close(); err != nil {
		t.Error(err)
	}
	if early != 0 {
		t.Errorf("%d sockets were handed to the data plane while the port was down", early)
	}
}

// TestInterfaceReplacedUnseen: name and index are the same as before, and no message reported the
// time between; only the socket knows that it is another interface.
func TestInterfaceReplacedUnseen(t *testing.T) {
	l := newLab(t)
	r := newRig(t, nil)
	r.u.begun = true // all but the watch: this test is the one that looks
	r.u.receive()
	close(r.u.watchDone)
	r.u.follow()
	r.wantTraffic(l)

	index := r.u.Status().Index
	l.delLink()
	l.addPair(index)
	waitFor(t, "the new interface", func() bool { r.u.follow(); return r.u.Status().State == StateUp })
	if got := r.u.Status().Index; got != index {
		t.Fatalf("the interface has index %d, want %d", got, index)
	}
	r.wantTraffic(l)
	r.wantSetUps(true, false, true)
}

func TestInterfaceRenamed(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	index := r.u.Status().Index
	l.rename(nearName, "other0")
	waitFor(t, "the new name", func() bool { return r.u.Status().Interface == "other0" })
	l.rename("other0", nearName)
	waitFor(t, "the old name", func() bool { return r.u.Status().Interface == nearName })
	r.waitState(StateUp)
	r.waitUp(true)
	r.wantTraffic(l)
	r.wantLogged("interface was renamed", 2)
	if got := r.u.Status().Index; got != index {
		t.Errorf("index %d, had %d", got, index)
	}

	// An interface that takes the configured name is the one that is meant.
	l.rename(nearName, "other0")
	waitFor(t, "the new name", func() bool { return r.u.Status().Interface == "other0" })
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nearName
	l.check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "other1"}))
	l.near(netlink.LinkSetUp)
	peer, err := netlink.LinkByName("other1")
	l.check(err)
	l.check(netlink.LinkSetUp(peer))
	waitFor(t, "the other interface", func() bool {
		st := r.u.Status()
		return st.Interface == nearName && st.State == StateUp
	})
	l.delLink()
	r.waitState(StateAbsent) // not back to other0: it is another interface
	l.rename("other0", nearName)
	r.waitUp(true)
	r.wantTraffic(l)
}

func TestInterfaceMovedAway(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	l.near(func(k netlink.Link) error { return netlink.LinkSetNsFd(k, l.farNS) })
	r.waitUp(false)
	r.waitState(StateAbsent)
}

func TestMTUFollowed(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	if mtu := r.u.Caps().MTU; mtu != 1500 {
		t.Errorf("MTU %d", mtu)
	}
	for _, c := range []struct{ mtu, slot int }{{1400, 2048}, {9000, 16384}, {1500, 2048}} {
		set := func(k netlink.Link) error { return netlink.LinkSetMTU(k, c.mtu) }
		l.near(set)
		l.far(set)
		waitFor(t, "the new MTU", func() bool {
			st := r.u.Status()
			return r.u.Caps().MTU == c.mtu && st.MTU == c.mtu && st.RingSlotSize == c.slot
		})
		r.wantTraffic(l)
	}
	r.wantSetUps(true)
}

// TestInterfaceOfAnotherKindComesBack: what cannot be used is an error that is logged once, and
// left when it goes away.
func TestInterfaceOfAnotherKindComesBack(t *testing.T) {
	l := newLab(t)
	r := begin(t, nil)
	l.delLink()
	r.waitState(StateAbsent)
	lo, err := netlink.LinkByName("lo")
	l.check(err)
	l.check(netlink.LinkSetName(lo, nearName))
	r.waitState(StateError)
	for range 5 {
		l.check(netlink.LinkSetUp(lo))
		l.check(netlink.LinkSetDown(lo))
	}
	if st := r.u.Status(); !strings.Contains(st.Err, ErrNotEthernet.Error()) {
		t.Errorf("status %+v", st)
	}
	l.check(netlink.LinkSetName(lo, "lo"))
	r.waitState(StateAbsent)
	if st := r.u.Status(); st.Err != "" {
		t.Errorf("an interface that is gone still fails: %+v", st)
	}
	l.addLink()
	r.waitUp(true)
	r.wantTraffic(l)
	r.wantLogged("uplink does not work", 1)
	if st := r.u.Status(); st.Err != "" {
		t.Errorf("status %+v", st)
	}
}

func TestOpenErrors(t *testing.T) {
	newLab(t)
	open := func(ifname string) error {
		u, err := Open(Config{Name: "lan", Interface: ifname, Counters: new(vswitch.Counters)})
		if err == nil {
			u.Close()
		}
		return err
	}
	wantErr := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		} else if s := err.Error(); strings.Contains(s, "\n") || !strings.Contains(s, "lan") {
			t.Errorf("not one line that names the port: %q", s)
		} else {
			t.Log(s)
		}
	}
	wantErr(open("lo"), ErrNotEthernet)

	errs := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread has lost a capability
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if err := unix.Capget(&hdr, &caps[0]); err != nil {
			errs <- err
			return
		}
		caps[0].Effective &^= 1 << unix.CAP_NET_RAW
		if err := unix.Capset(&hdr, &caps[0]); err != nil {
			errs <- err
			return
		}
		errs <- open(nearName)
	}()
	wantErr(<-errs, ErrPrivilege)
}

// TestNothingLeft: neither descriptors nor mappings remain of an uplink, however it ended.
func TestNothingLeft(t *testing.T) {
	l := newLab(t)
	count := func() (fds, maps int) {
		dir, err := os.ReadDir("/proc/self/fd")
		l.check(err)
		m, err := os.ReadFile("/proc/self/maps")
		l.check(err)
		return len(dir), bytes.Count(m, []byte("socket:["))
	}
	life := func() {
		r := begin(t, nil)
		r.wantTraffic(l)
		l.delLink()
		r.waitUp(false)
		l.addLink()
		r.waitUp(true)
		if _, maps := count(); maps != 2 {
			t.Errorf("%d rings are mapped while the uplink is open, want 2", maps)
		}
		l.check(r.u.Close())
		l.check(r.u.Close())
		newRig(t, nil).u.Close() // never begun
		if _, err := Open(Config{Interface: nearName, RingSize: math.MaxInt}); err == nil {
			t.Error("opened with an impossible ring")
		}
	}
	life() // what the runtime and the test keep is there after the first
	fds, maps := count()
	if maps != 0 {
		t.Errorf("%d rings are still mapped", maps)
	}
	for range 3 {
		life()
	}
	waitFor(t, "all descriptors closed", func() bool {
		n, m := count()
		return n <= fds+3 && m == 0 // stations: one for each life, closed when the test ends
	})
}
