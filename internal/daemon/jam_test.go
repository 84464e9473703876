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

// jamming connects a front-end that blocks the worker in the write to a call eventfd.
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

// A front-end that blocks the worker for a short time and disconnects, with or without unblocking
// it first, cannot repeat this indefinitely, however short each time is.
func TestRepeatedJamsAreDetected(t *testing.T) {
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
			l := newLabOf(t, withoutBackoff(), "[port.a]\n[port.b]\n[port.bad]\n")
			a, _ := l.talk("a", "b")
			attacks := 0
			for l.port("bad").Counters.Resets["jammed-eventfd"] == 0 {
				f, call := l.jamming("bad")
				attack(f, call)
				f.Close()
				l.state("bad", control.StateListening)
				if attacks++; attacks > 1000 {
					t.Fatalf("the front-end is not detected in %d attacks", attacks)
				}
			}
			t.Logf("detected after %d attacks", attacks)
			// The next front-end is not served, while the other ports forward frames.
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
