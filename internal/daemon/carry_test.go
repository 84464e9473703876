package daemon

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vswitchd/internal/control"
)

// A reload can change a port's name, socket and offers while its guest stays connected.
func TestReloadKeepsGuests(t *testing.T) {
	const ab = "[port.a]\n[port.b]\n"
	for _, c := range []struct {
		name, to string
		a, b     string // names of the two guests' ports after the reload
		changed  string
	}{
		{"renamed", "[port.x]\nsocket = \"$a.sock\"\n[port.b]\n", "x", "b", "port a renamed to x"},
		{"renamed, by another path", "[port.x]\nsocket = \"$../$link/a.sock\"\n[port.b]\n", "x", "b", "port a renamed to x"},
		{"sockets swapped", "[port.a]\nsocket = \"$b.sock\"\n[port.b]\nsocket = \"$a.sock\"\n", "b", "a",
			"port a renamed to b; port b renamed to a"},
		{"names in a circle", "[port.b]\nsocket = \"$a.sock\"\n[port.c]\nsocket = \"$b.sock\"\n", "b", "c",
			"port a renamed to b; port b renamed to c"},
		{"another socket", "[port.a]\nsocket = \"$other\"\n[port.b]\n", "a", "b", "port a takes the next front-end from $other"},
		{"client mode", "[port.a]\nmode = \"client\"\nsocket = \"$other\"\n[port.b]\n", "a", "b",
			"port a connects to $other for the next front-end"},
		{"permissions", "[port.a]\nsocket_mode = \"0600\"\n[port.b]\n", "a", "b", "port a has another owner or mode of its socket"},
		{"more queues and an MTU", "[port.a]\nqueues = 4\nmtu = 9000\n[port.b]\n", "a", "b",
			"port a will offer another MTU to the next front-end that connects; " +
				"port a will offer another number of queue pairs, 4, to the next front-end that connects"},
		{"all at once", "[port.c]\n[port.x]\nsocket = \"$a.sock\"\nqueues = 2\nisolated = true\nsocket_mode = \"0600\"\n[port.b]\n", "x", "b",
			"port a renamed to x; port c added; port x has another owner or mode of its socket; port x reconfigured; " +
				"port x will offer another number of queue pairs, 2, to the next front-end that connects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, ab)
			link := l.dir + "-link"
			l.must(os.Symlink(l.dir, link))
			t.Cleanup(func() { os.Remove(link) })
			a, b := l.talk("a", "b")
			before := l.port("a").Counters.RxFrames
			expand := func(s string) string {
				s = strings.ReplaceAll(s, "$../$link", link)
				return strings.ReplaceAll(s, "$", l.dir+"/")
			}
			l.reload(expand(c.to), strings.Split(expand(c.changed), "; ")...)
			l.must(a.Await(200))
			l.must(b.Await(200))
			pa, pb := l.port(c.a), l.port(c.b)
			for _, p := range []control.PortDetail{pa, pb} {
				if p.State != control.StateRunning || p.Session == nil || p.Session.Number != 1 || len(p.Counters.Resets)+len(p.Counters.Drops) > 0 {
					t.Errorf("%s: %+v", p.Name, p)
				}
			}
			if pa.Counters.RxFrames <= before {
				t.Errorf("%d frames received, it were %d before", pa.Counters.RxFrames, before)
			}
			learned := make(map[string]string)
			for _, e := range l.d.sw.FDB("", -1) {
				learned[e.MAC.String()] = e.Port
			}
			if learned[a.MAC().String()] != c.a || learned[b.MAC().String()] != c.b {
				t.Errorf("learned: %v", learned)
			}
			// Reload the original configuration.
			if _, err := l.d.Reload(l.load(ab)); err != nil {
				t.Fatal(err)
			}
			l.must(a.Await(200))
			if p := l.port("a"); l.names() != "a b" || p.Session == nil || p.Session.Number != 1 || p.Socket != l.socket("a") {
				t.Errorf("ports %s, a: %+v", l.names(), p)
			}
		})
	}
}

// The next front-end is offered the new configuration; a connected one keeps what it was offered.
func TestNextFrontEndGetsTheNewOffer(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	s := l.connect("a", 1)
	l.state("a", control.StateRunning)
	l.reload("[port.a]\nqueues = 2\nmtu = 9000\nsocket = \"$other.sock\"\n",
		"port a takes the next front-end from "+l.dir+"/other.sock",
		"port a will offer another MTU to the next front-end that connects",
		"port a will offer another number of queue pairs, 2, to the next front-end that connects")
	offers := func(name string) bool {
		for _, b := range l.port("a").FeatureBits {
			if b.Name == name {
				return true
			}
		}
		return false
	}
	if offers("MQ") || offers("MTU") {
		t.Error("the connected front-end is offered new features")
	}
	if _, err := os.Lstat(l.socket("a")); !os.IsNotExist(err) {
		t.Errorf("the old socket: %v", err)
	}
	l.must(s.Leave())
	l.state("a", control.StateListening)
	s = l.connect("other", 1)
	l.state("a", control.StateRunning)
	if !offers("MQ") || !offers("MTU") {
		t.Error("the next front-end is not offered what is configured")
	}
	if n := l.port("a").Session.Number; n != 2 {
		t.Errorf("session %d", n)
	}
	l.must(s.Leave())
}

// A reload that is blocked in the kernel delays the stop only for a limited time, and changes
// nothing afterwards.
func TestEndDuringAReloadThatHangs(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	other, err := New(l.load("[port.b]\n"), l.d.log)
	if err != nil {
		t.Fatal(err)
	}
	other.reloading <- struct{}{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ended := make(chan error)
	go func() { ended <- other.Run(ctx) }()
	select {
	case err := <-ended:
		l.must(err)
	case <-time.After(time.Minute):
		t.Fatal("Run does not return")
	}
	if err := other.carryOut(other.compare(other.cfg, l.load("[port.b]\n[port.c]\n"), false)); err == nil {
		t.Error("a reload succeeded after the stop")
	}
	if _, err := os.Lstat(l.socket("c")); !os.IsNotExist(err) {
		t.Errorf("c's socket: %v", err)
	}
}

// An uplink keeps its counters when it is renamed or moved and when a reload is refused. It keeps
// its learned addresses as long as it has the same interface.
func TestReloadKeepsUplinks(t *testing.T) {
	const lan, a = "[uplink.lan]\ninterface = \"nic0\"\n", "[port.a]\n"
	l := newLab(t, a+lan)
	l.addVeth("nic0", "far0")
	l.addVeth("nic1", "far1")
	l.state("lan", control.StateRunning)
	// The kernel itself sends IPv6 frames on an interface that comes up.
	l.until("frames come in", func() bool { return l.port("lan").Counters.RxFrames > 0 })
	learned := func(port string) int { return len(l.d.sw.FDB(port, -1)) }
	l.until("addresses are learned", func() bool { return learned("lan") > 0 })
	received := l.port("lan").Counters.RxFrames

	l.refuses(a+"[uplink.lan]\ninterface = \"lo\"\n", "uplink.lan.interface: ")
	if p := l.port("lan"); p.State != control.StateRunning || p.Interface != "nic0" || p.Counters.RxFrames < received || learned("lan") == 0 {
		t.Errorf("after a refused reload: %+v, %d addresses", p, learned("lan"))
	}
	l.reload(a+"[uplink.wan]\ninterface = \"nic0\"\n", "port lan renamed to wan")
	if p := l.port("wan"); p.State != control.StateRunning || p.Counters.RxFrames < received || learned("wan") == 0 {
		t.Errorf("renamed: %+v, %d addresses", p, learned("wan"))
	}
	l.reload(a+"[uplink.wan]\ninterface = \"nic0\"\npromiscuous = false\n", "port wan opened again, as promiscuous has changed")
	l.state("wan", control.StateRunning)
	l.reload(a+"[uplink.wan]\ninterface = \"nic1\"\npromiscuous = false\n", "port wan moved to interface nic1")
	l.state("wan", control.StateRunning)
	if p := l.port("wan"); p.Interface != "nic1" || p.Counters.RxFrames < received {
		t.Errorf("moved: %+v", p)
	}
	before := l.port("wan").Counters.RxFrames
	l.must(netlink.LinkSetDown(l.link("far1")))
	l.must(netlink.LinkSetUp(l.link("far1")))
	l.until("frames come in by the other interface", func() bool { return l.port("wan").Counters.RxFrames > before })
}
