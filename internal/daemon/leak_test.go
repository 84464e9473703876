package daemon

import (
	"runtime"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// A session leaves no file descriptor, mapping or goroutine behind, however it ends.
func TestReconnectsLeakNothing(t *testing.T) {
	l := newLabOf(t, withoutBackoff(), "[port.a]\nmac = \"52:54:00:00:00:01\"\n[port.b]\n")
	peer := l.connect("b", 2)
	peer.Start()
	leave := []func(s *station.Station){
		func(s *station.Station) { l.must(s.Leave()) },
		func(s *station.Station) { l.must(s.Die()) },
		func(s *station.Station) { // garbage on a working connection
			l.must(s.FrontEnd().Write([]byte("this is not a message, is it?")))
			l.state("a", control.StateListening)
			l.must(s.Die())
		},
		func(s *station.Station) { // half a message with a file descriptor
			l.must(s.FrontEnd().Write([]byte{byte(vhostuser.SetVringKick), 0, 0}, 0, 1))
			l.must(s.Die())
		},
	}
	round := func(i int) {
		s := l.connect("a", 1)
		s.Talk(peer.MAC(), 8)
		s.Talk(station.Broadcast, 2, peer.MAC())
		s.Start()
		l.must(s.Await(20))
		leave[i%len(leave)](s)
		l.state("a", control.StateListening)
	}
	for i := range leave {
		round(i)
	}
	// The last session may not be cleaned up completely yet, so the final numbers may be lower, but
	// not higher.
	fds, maps, goroutines := vhostusertest.OpenFiles(t), vhostusertest.Mapped(t, ""), runtime.NumGoroutine()
	for i := range 200 {
		round(i)
	}
	l.until("no file descriptor is left", func() bool { return vhostusertest.OpenFiles(t) <= fds })
	l.until("no mapping is left", func() bool { return vhostusertest.Mapped(t, "") <= maps })
	l.until("no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	if n := l.port("a").Counters.Reconnects; n != uint64(200+len(leave)-1) {
		t.Errorf("%d reconnects counted", n)
	}
	if c := l.port("b").Counters; len(c.Drops) != 0 {
		t.Errorf("b: %+v", c)
	}
	l.must(peer.Leave())
}
