package daemon

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue/virtqueuetest"
)

func TestPenaltyGrows(t *testing.T) {
	var p penalty
	now := time.Unix(1e9, 0)
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 320, 640, 1200, 1200} {
		if got := p.due(now); got != want*time.Second {
			t.Errorf("penalty is %v, want %v", got, want*time.Second)
		}
		now = now.Add(time.Hour)
	}
	for range 1000 {
		p.due(now)
	}
	if got := p.due(now); got != longestPenalty {
		t.Errorf("penalty is %v", got)
	}
	if got := p.due(now.Add(forgetPenalty + 1)); got != firstPenalty {
		t.Errorf("after a long time, the penalty is %v", got)
	}
}

// jamming is a front-end at a port that holds up the worker in a signal.
func (l *lab) jamming(port string) (f *vhostusertest.FrontEnd, call int) {
	l.Helper()
	f, err := vhostusertest.Dial(l.socket(port))
	if err != nil {
		l.Fatal(err)
	}
	mem, err := f.NewMemory(1 << 20)
	l.must(err)
	l.must(errors.Join(f.Handshake(station.Features, station.ProtocolFeatures), f.ShareMemory()))
	r, err := f.NewRing(mem, 1, 64, 64<<10)
	l.must(err)
	l.must(f.StartRing(r))
	_, _ = unix.Read(r.CallFD, make([]byte, 8))
	_, err = unix.Write(r.CallFD, binary.NativeEndian.AppendUint64(nil, math.MaxUint64-1))
	l.must(err)
	l.must(unix.SetNonblock(r.CallFD, false))
	_, err = r.Driver.AddChain([]virtqueuetest.Buf{r.Driver.Alloc(100)}, nil)
	l.must(err)
	r.Driver.Publish()
	l.must(r.Kick())
	return f, r.CallFD
}

// A front-end that holds up the worker for a moment and hangs up at once, or after it has
// let go, does not get to do so again and again, however short each time is.
func TestJamIsPunished(t *testing.T) {
	for name, attack := range map[string]func(f *vhostusertest.FrontEnd, call int){
		"hangs up": func(f *vhostusertest.FrontEnd, call int) {},
		"lets go and hangs up": func(f *vhostusertest.FrontEnd, call int) {
			time.Sleep(3 * time.Millisecond)
			_ = unix.SetNonblock(call, true)
			_, _ = unix.Read(call, make([]byte, 8))
		},
		"lets go, stops its ring and hangs up": func(f *vhostusertest.FrontEnd, call int) {
			time.Sleep(3 * time.Millisecond)
			_ = unix.SetNonblock(call, true)
			_, _ = unix.Read(call, make([]byte, 8))
			_, _ = f.Get(vhostuser.GetVringBase, vhostuser.VringState{Index: 1}.AppendTo(nil), 8)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, "[port.a]\n[port.b]\n[port.bad]\n")
			l.unhurried()
			a, _ := l.talk("a", "b")
			attacks := 0
			for l.port("bad").Counters.Resets["jammed-eventfd"] == 0 {
				f, call := l.jamming("bad")
				attack(f, call)
				f.Close()
				l.state("bad", control.StateListening)
				if attacks++; attacks > 1000 {
					t.Fatalf("the front-end is not found out in %d attacks", attacks)
				}
			}
			t.Logf("found out after %d attacks", attacks)
			// The next one is not even heard, while others go on.
			f, err := vhostusertest.Dial(l.socket("bad"))
			l.must(err)
			defer f.Close()
			l.must(f.Send(vhostuser.GetFeatures, 0, nil))
			sessions := l.port("bad").Counters.Reconnects
			l.must(a.Await(2000))
			if n := l.port("bad").Counters.Reconnects; n != sessions {
				t.Error("another front-end is served at once")
			}
		})
	}
}
