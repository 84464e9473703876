package daemon

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/internal/control"
	"vswitchd/internal/loglimit"
	"vswitchd/internal/port/guest"
	"vswitchd/test/station"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// dial connects to a port and sends nothing.
func (l *lab) dial(port string) *vhostusertest.FrontEnd {
	l.Helper()
	f, err := vhostusertest.Dial(l.socket(port))
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(f.Close)
	return f
}

// A front-end that occupies a port without using it is disconnected when another one waits.
func TestSilentFrontEndGivesWay(t *testing.T) {
	header := func(r vhostuser.Request, size byte) []byte {
		return []byte{byte(r), 0, 0, 0, 1, 0, 0, 0, size, 0, 0, 0}
	}
	for name, begin := range map[string]func(l *lab, f *vhostusertest.FrontEnd) error{
		"nothing":       func(l *lab, f *vhostusertest.FrontEnd) error { return nil },
		"half a header": func(l *lab, f *vhostusertest.FrontEnd) error { return f.Write(header(vhostuser.GetFeatures, 0)[:5]) },
		"half a payload": func(l *lab, f *vhostusertest.FrontEnd) error {
			return f.Write(append(header(vhostuser.SetFeatures, 8), 1))
		},
		"a question": func(l *lab, f *vhostusertest.FrontEnd) error { _, err := f.GetU64(vhostuser.GetFeatures); return err },
		"half a message after a handshake": func(l *lab, f *vhostusertest.FrontEnd) error {
			l.must(f.Handshake(station.Features, station.ProtocolFeatures))
			return f.Write(header(vhostuser.SetFeatures, 8))
		},
		"half a message while its rings run": func(l *lab, f *vhostusertest.FrontEnd) error {
			s, err := station.New(f, station.Config{MAC: station.Addr(9)})
			l.must(err)
			l.Cleanup(func() { _ = s.Die() })
			return f.Write(header(vhostuser.SetFeatures, 8)[:1])
		},
		"replies are not read": func(l *lab, f *vhostusertest.FrontEnd) error {
			l.must(f.Handshake(station.Features, station.ProtocolFeatures))
			go func() {
				for f.Send(vhostuser.GetFeatures, 0, nil) == nil { // until both sockets are full
				}
			}()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "[port.a]\n")
			began := time.Now()
			l.must(begin(l, l.dial("a")))
			l.state("a", stateOf(name))
			next, err := station.New(l.dial("a"), station.Config{MAC: station.Addr(1)}) // waits
			if err != nil {
				t.Fatal(err)
			}
			l.state("a", control.StateRunning)
			if waited := time.Since(began); waited < guest.SilentTimeout {
				t.Errorf("it gave way after %v", waited)
			}
			p := l.port("a")
			if p.Counters.Resets["silent"] != 1 || p.LastEnd == nil || !strings.Contains(p.LastEnd.Reason, "silent") {
				t.Errorf("resets %v, last end %+v", p.Counters.Resets, p.LastEnd)
			}
			if log := l.log.String(); !strings.Contains(log, "another front-end is waiting for the port") {
				t.Error("nothing is logged")
			}
			l.must(next.Leave())
		})
	}
}

func stateOf(name string) control.State {
	if strings.Contains(name, "rings run") {
		return control.StateRunning
	}
	return control.StateConnected
}

// A front-end that has completed the handshake keeps the port however long it is silent, whether or
// not its driver runs. Another front-end is shown as waiting, and is served when the first one has
// left.
func TestLiveFrontEndKeepsItsPort(t *testing.T) {
	for name, begin := range map[string]func(l *lab) (leave func()){
		"driver runs": func(l *lab) func() {
			s := l.connect("a", 9)
			return func() { l.must(s.Leave()) }
		},
		"no driver": func(l *lab) func() {
			f := l.dial("a")
			l.must(f.Handshake(station.Features, station.ProtocolFeatures))
			return f.Close
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "[port.a]\n")
			leave := begin(l)
			second := l.dial("a")
			l.must(second.Send(vhostuser.GetFeatures, 0, nil))
			l.until("waiting shows", func() bool { s := l.port("a").Session; return s != nil && s.OtherWaiting })
			// Wait longer than a silent front-end would be tolerated.
			l.until("the time of a silent front-end has passed", func() bool { return l.port("a").Session.AgeS > int64(2*guest.SilentTimeout.Seconds()) })
			if p := l.port("a"); p.Session.Number != 1 || p.Session.PeerPID != unix.Getpid() || len(p.Counters.Resets) != 0 && p.Counters.Resets["silent"] != 0 {
				t.Errorf("session %+v, resets %v", p.Session, p.Counters.Resets)
			}
			if n := strings.Count(l.log.String(), "another front-end is waiting"); n != 1 {
				t.Errorf("logged %d times", n)
			}
			leave()
			if m, err := second.Recv(); err != nil || m.Request != vhostuser.GetFeatures {
				t.Errorf("the second front-end receives %v, %v", m, err)
			}
		})
	}
}

// Front-ends that connect and fail as fast as possible are accepted at a limited rate, and neither
// the connections nor the failures make the log grow without bound.
func TestReconnectsAreDelayed(t *testing.T) {
	for name, fail := range map[string]struct {
		do    func(f *vhostusertest.FrontEnd)
		hint  string
		cause control.HintCause
		times int // that the hint is logged
	}{
		"more queues than there are": {func(f *vhostusertest.FrontEnd) { // as QEMU does
			_, _ = f.GetU64(vhostuser.GetFeatures)
			_ = f.Do(vhostuser.SetProtocolFeatures, vhostuser.AppendU64(nil, 1<<vhostuser.ProtocolFeatureMQ))
			_, _ = f.GetU64(vhostuser.GetQueueNum)
			_ = f.Do(vhostuser.SetOwner, nil)
		}, "does it want more (queues=", control.HintOffer, 1},
		"no message": {func(f *vhostusertest.FrontEnd) {}, "is it a vhost-user front-end?", control.HintNotVhostUser, 1},
		"no vhost-user": {func(f *vhostusertest.FrontEnd) {
			_ = f.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			_ = f.WaitClosed()
		}, "does not speak vhost-user", control.HintNotVhostUser, 1},
		"refused": {func(f *vhostusertest.FrontEnd) {
			_ = f.Handshake(station.Features, 0)
			_ = f.Send(vhostuser.SetVringNum, 0, vhostuser.VringState{Num: 3}.AppendTo(nil))
			_ = f.WaitClosed()
		}, "", "", 0},
		"in order": {func(f *vhostusertest.FrontEnd) { _ = f.Handshake(station.Features, station.ProtocolFeatures) }, "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "[port.a]\n")
			began := time.Now()
			const attempts = 4
			for i := range attempts {
				f, err := vhostusertest.Dial(l.socket("a"))
				if err != nil {
					t.Fatal(err)
				}
				fail.do(f)
				f.Close()
				l.until("it is over", func() bool {
					return l.port("a").Counters.Reconnects >= uint64(i) && l.port("a").State == control.StateListening
				})
			}
			// Only the delay after the last session may not have ended yet.
			l.until("another front-end is accepted", func() bool {
				f, err := vhostusertest.Dial(l.socket("a"))
				if err != nil {
					return false
				}
				l.Cleanup(f.Close) // not earlier, because its end would count as well
				_, err = f.GetU64(vhostuser.GetFeatures)
				return err == nil
			})
			least := attempts * guest.FirstWait
			if name != "in order" {
				least = (1<<attempts - 1) * guest.FirstWait
			}
			if took := time.Since(began); took < least {
				t.Errorf("%d front-ends were accepted within %v, want at least %v", attempts+1, took, least)
			}
			log := l.log.String()
			if n := strings.Count(log, "something is likely wrong"); n != fail.times {
				t.Errorf("%d lines with a hint, want %d", n, fail.times)
			}
			if p := l.port("a"); !strings.Contains(p.Hint, fail.hint) || fail.hint == "" && p.Hint != "" || p.HintCause != fail.cause {
				t.Errorf("hint %q (%s), want %q", p.Hint, p.HintCause, fail.hint)
			}
			if !strings.Contains(log, fail.hint) {
				t.Errorf("%q is not in the log", fail.hint)
			}
		})
	}
}

// The log lines that a peer can cause are limited for each port.
func TestPeersCannotFloodTheLog(t *testing.T) {
	l := newLabOf(t, withoutBackoff(), "[port.a]\n")
	const many = 100
	for i := range many {
		f := l.dial("a")
		l.must(f.Handshake(station.Features, station.ProtocolFeatures))
		for range many {
			_ = f.Do(vhostuser.SetVringNum, vhostuser.VringState{Num: 3}.AppendTo(nil)) // refused
		}
		f.Close()
		l.until("it is gone", func() bool {
			p := l.port("a")
			return p.Counters.Reconnects >= uint64(i) && p.State == control.StateListening
		})
	}
	// The bound for a test that takes an hour.
	const most = loglimit.Burst + 360
	for _, line := range []string{"refused: ", "front-end connected", "front-end left"} {
		if n := strings.Count(l.log.String(), line); n == 0 || n > most || line == "refused: " && n > many*many/10 {
			t.Errorf("%q is logged %d times", line, n)
		}
	}
	l.until("the number of suppressed lines is logged", func() bool {
		return strings.Contains(l.log.String(), `each=refused`) && strings.Contains(l.log.String(), `each="front-end connected"`)
	})
}

// If the rings of a guest that kicks stay empty, the port gives the hint that the memory may not be
// shared.
func TestMemoryThatIsNotShared(t *testing.T) {
	start := func(l *lab, fill bool) *vhostusertest.FrontEnd {
		f := l.dial("a")
		l.must(f.Handshake(station.Features, station.ProtocolFeatures))
		mem, err := f.NewMemory(1 << 20)
		l.must(err)
		l.must(f.ShareMemory())
		for i := range 2 {
			r, err := f.NewRing(mem, i, 64, 64<<10)
			l.must(err)
			if fill && i == 0 {
				_, err := r.Driver.AddChain(nil, []virtqueuetest.Buf{r.Driver.Alloc(1514)})
				l.must(err)
				r.Driver.Publish()
			}
			l.must(f.StartRing(r))
		}
		return f
	}
	t.Run("writes do not show", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, "[port.a]\n")
		f := start(l, false)
		l.state("a", control.StateRunning)
		l.until("the kick at the start counts", func() bool { return l.port("a").Counters.Kicks > 0 })
		l.until("port show has the hint", func() bool { f.Rings[1].Kick(); return strings.Contains(l.port("a").Hint, "share=on") })
		if c := l.port("a").HintCause; c != control.HintMemoryNotShared {
			t.Errorf("the cause is %q", c)
		}
		l.until("the log has it", func() bool { return strings.Contains(l.log.String(), "share=on") })
	})
	t.Run("writes show", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, "[port.a]\n")
		f := start(l, true)
		l.until("kicks count", func() bool { f.Rings[1].Kick(); return l.port("a").Counters.Kicks > 100 })
		if hint := l.port("a").Hint; hint != "" {
			t.Errorf("hint %q", hint)
		}
	})
	t.Run("no memory", func(t *testing.T) {
		t.Parallel()
		for name, protocol := range map[string]uint64{"reset": 0, "told": 1 << vhostuser.ProtocolFeatureReplyAck} {
			t.Run(name, func(t *testing.T) {
				l := newLab(t, "[port.a]\n")
				f := l.dial("a")
				l.must(f.Handshake(station.Features, protocol))
				mem, err := f.NewMemory(1 << 20)
				l.must(err)
				r, err := f.NewRing(mem, 0, 64, 64<<10)
				l.must(err)
				if f.StartRing(r) == nil {
					t.Error("the ring started")
				}
				f.Close()
				l.until("port show has the hint", func() bool { return strings.Contains(l.port("a").Hint, "share=on") })
				l.until("the log has it", func() bool { return strings.Contains(l.log.String(), "share=on") })
			})
		}
	})
}

// The port gives a hint about a big-endian legacy guest, whose front-end gives up where it would
// send SET_VRING_ENDIAN.
func TestBigEndianLegacyGuest(t *testing.T) {
	for name, c := range map[string]struct {
		features uint64
		hint     bool
	}{
		"legacy": {station.Features &^ (1 << virtqueue.FeatureVersion1), true},
		"modern": {station.Features, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, "[port.a]\n")
			f := l.dial("a")
			l.must(f.Handshake(c.features, station.ProtocolFeatures))
			l.must(f.Do(vhostuser.SetVringNum, vhostuser.VringState{Num: 256}.AppendTo(nil)))
			l.must(f.Do(vhostuser.SetVringBase, vhostuser.VringState{}.AppendTo(nil)))
			if hint := l.port("a").Hint; strings.Contains(hint, "CROSS_ENDIAN") != c.hint {
				t.Errorf("hint %q", hint)
			}
			if c.hint {
				l.until("it is logged", func() bool { return strings.Contains(l.log.String(), "CROSS_ENDIAN") })
			}
		})
	}
}
