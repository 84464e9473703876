package loop_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/loop"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

type buf = virtqueuetest.Buf

// echo answers a request with the bytes of the request.
func echo(req *loop.Request) error {
	_, err := io.Copy(&req.Writer, &req.Reader)
	if errors.Is(err, io.ErrShortWrite) {
		return nil
	}
	return err
}

// A lab is a device, its session, and the front-end.
type lab struct {
	t     *testing.T
	fe    *vhostusertest.FrontEnd
	mem   *vhostusertest.Memory
	ended chan error
}

const (
	version1 = 1 << virtqueue.FeatureVersion1
	eventIdx = 1 << virtqueue.FeatureEventIdx
	packed   = 1 << virtqueue.FeatureRingPacked
	inOrder  = 1 << virtqueue.FeatureInOrder
	protocol = 1 << vhostuser.FeatureProtocolFeatures
)

func serve(t *testing.T, dev vhostuser.Device, features, protocolFeatures uint64) *lab {
	t.Helper()
	fe, conn, err := vhostusertest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, fe: fe, ended: make(chan error, 1)}
	go func() { l.ended <- vhostuser.Serve(context.Background(), conn, dev, vhostuser.Options{}) }()
	t.Cleanup(fe.Close)
	l.must(fe.Handshake(features, protocolFeatures))
	l.mem, err = fe.NewMemory(1 << 20)
	l.must(err)
	l.must(fe.ShareMemory())
	return l
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) ring(index int) *vhostusertest.Ring {
	l.t.Helper()
	r, err := l.fe.NewRing(l.mem, index, 16, 16<<10)
	l.must(err)
	return r
}

// request offers a request with the given text and room for an answer of the same length.
func (l *lab) request(r *vhostusertest.Ring, text string) (answer buf) {
	l.t.Helper()
	out, in := r.Driver.Alloc(len(text)), r.Driver.Alloc(len(text))
	copy(r.Driver.Bytes(out), text)
	_, err := r.Driver.AddChain([]buf{out}, []buf{in})
	l.must(err)
	r.Driver.Publish()
	l.must(r.Kick())
	return in
}

// used waits for a request to be returned, and returns the number of bytes written.
func (l *lab) used(r *vhostusertest.Ring) uint32 {
	l.t.Helper()
	for {
		if _, n, ok := r.Driver.PollUsed(); ok {
			return n
		}
		if !r.Driver.Arm() {
			l.must(r.WaitCall())
		}
	}
}

// end waits for the session to end.
func (l *lab) end() error {
	l.t.Helper()
	select {
	case err := <-l.ended:
		return err
	case <-time.After(vhostusertest.Timeout):
		l.t.Fatal("the session does not end")
		return nil
	}
}

func TestChurn(t *testing.T) {
	for name, features := range map[string]uint64{
		"split": 0, "event index": eventIdx, "in order": inOrder, "packed": packed | eventIdx,
	} {
		for _, perRing := range []bool{false, true} {
			for _, slots := range []uint64{0, 1 << vhostuser.ProtocolFeatureConfigureMemSlots} {
				t.Run(fmt.Sprintf("%s/per ring %t/slots %t", name, perRing, slots != 0), func(t *testing.T) {
					dev := loop.New(loop.Config{Vrings: 2, Handle: echo, PerRing: perRing})
					l := serve(t, dev, features|version1|protocol, slots|1<<vhostuser.ProtocolFeatureReplyAck)
					a, b := l.ring(0), l.ring(1)
					l.must(l.fe.StartRing(a))
					l.must(l.fe.StartRing(b))
					for _, r := range []*vhostusertest.Ring{a, b} {
						out, in := r.Driver.Alloc(64), r.Driver.Alloc(64)
						l.must(vhostusertest.Churn(l.fe, r, 100, func() (readable, writable []buf) {
							return []buf{out}, []buf{in}
						}))
					}
				})
			}
		}
	}
}

func TestAnswer(t *testing.T) {
	l := serve(t, loop.New(loop.Config{Vrings: 1, Handle: echo}), version1, 0)
	r := l.ring(0)
	l.must(l.fe.StartRing(r))
	for _, text := range []string{"one", "and another one"} {
		in := l.request(r, text)
		if n := l.used(r); int(n) != len(text) || string(r.Driver.Bytes(in)) != text {
			t.Fatalf("%d bytes, %q", n, r.Driver.Bytes(in))
		}
	}
	l.fe.Close()
	if err := l.end(); !errors.Is(err, vhostuser.ErrDied) {
		t.Fatal(err)
	}
}

// A device serves one front-end after another.
func TestNextFrontEnd(t *testing.T) {
	dev := loop.New(loop.Config{Vrings: 1, Handle: echo})
	for range 3 {
		l := serve(t, dev, version1|packed, 0)
		r := l.ring(0)
		l.must(l.fe.StartRing(r))
		l.request(r, "hello")
		l.used(r)
		l.fe.Close()
		_ = l.end()
	}
}

func TestHandleFails(t *testing.T) {
	broken := errors.New("disk is on fire")
	l := serve(t, loop.New(loop.Config{Vrings: 1, Handle: func(*loop.Request) error { return broken }}), version1, 0)
	r := l.ring(0)
	l.must(l.fe.StartRing(r))
	l.request(r, "hello")
	if err := l.end(); !errors.Is(err, broken) {
		t.Fatal(err)
	}
}

// The front-end truncates its memory while the device is writing to it.
func TestMemoryVanishesInHandle(t *testing.T) {
	truncate := make(chan func(), 1)
	l := serve(t, loop.New(loop.Config{Vrings: 1, Handle: func(req *loop.Request) error {
		(<-truncate)()
		return echo(req)
	}}), version1, 0)
	other, err := l.fe.NewMemory(1 << 20)
	l.must(err)
	l.must(l.fe.SetMemTable(l.fe.Memory...))
	r := l.ring(0)
	l.must(l.fe.StartRing(r))
	truncate <- func() { _ = other.Truncate(0) }
	_, err = r.Driver.AddChain([]buf{r.Driver.Alloc(8)}, []buf{{Addr: other.Region.GuestAddr, Len: 8}})
	l.must(err)
	r.Driver.Publish()
	l.must(r.Kick())
	if err := l.end(); !errors.Is(err, loop.ErrMemoryGone) {
		t.Fatal(err)
	}
}

// The driver breaks the ring.
func TestBrokenRing(t *testing.T) {
	l := serve(t, loop.New(loop.Config{Vrings: 1, Handle: echo}), version1, 0)
	r := l.ring(0)
	l.must(l.fe.StartRing(r))
	r.Driver.SetAvailIdx(1000)
	l.must(r.Kick())
	if err := l.end(); !errors.Is(err, virtqueue.ErrAvailIndex) {
		t.Fatal(err)
	}
}

func TestDisabledRing(t *testing.T) {
	for _, discard := range []bool{false, true} {
		t.Run(fmt.Sprintf("discard=%t", discard), func(t *testing.T) {
			var handled atomic.Int32
			l := serve(t, loop.New(loop.Config{Vrings: 2, DiscardDisabled: discard, Handle: func(req *loop.Request) error {
				handled.Add(1)
				return echo(req)
			}}), version1|protocol, 1<<vhostuser.ProtocolFeatureReplyAck)
			r, witness := l.ring(0), l.ring(1)
			l.must(l.fe.StartRing(r))
			l.must(l.fe.StartRing(witness))
			l.must(l.fe.EnableRing(r, false))
			l.request(r, "hello")
			if discard {
				if n := l.used(r); n != 0 || handled.Load() != 0 {
					t.Fatalf("%d bytes written, %d handled", n, handled.Load())
				}
			} else {
				l.request(witness, "the goroutine has worked on both")
				l.used(witness)
				if _, _, ok := r.Driver.PollUsed(); ok || handled.Load() != 1 {
					t.Fatalf("used %t, %d handled", ok, handled.Load())
				}
			}
			l.must(l.fe.EnableRing(r, true))
			if discard {
				l.request(r, "hello")
			}
			if n := l.used(r); n != 5 {
				t.Fatalf("%d bytes written", n)
			}
		})
	}
}

// With PerRing, a request that takes long does not hold up other rings.
func TestPerRing(t *testing.T) {
	release := make(chan struct{})
	l := serve(t, loop.New(loop.Config{Vrings: 2, PerRing: true, Handle: func(req *loop.Request) error {
		if req.Ring == 0 {
			<-release
		}
		return echo(req)
	}}), version1, 0)
	slow, quick := l.ring(0), l.ring(1)
	l.must(l.fe.StartRing(slow))
	l.must(l.fe.StartRing(quick))
	l.request(slow, "slow")
	l.request(quick, "quick")
	l.used(quick)
	close(release)
	l.used(slow)
}

// A ring without an eventfd for kicks is polled.
func TestNoKickFD(t *testing.T) {
	l := serve(t, loop.New(loop.Config{Vrings: 1, Handle: echo}), version1, 0)
	r := l.ring(0)
	cfg := r.Driver.Config()
	l.must(l.fe.Do(vhostuser.SetVringCall, vhostuser.VringFile{}.AppendTo(nil), r.CallFD))
	l.must(l.fe.Do(vhostuser.SetVringNum, vhostuser.VringState{Num: uint32(cfg.Size)}.AppendTo(nil)))
	l.must(l.fe.Do(vhostuser.SetVringAddr, vhostusertest.RingAddr(0, cfg).AppendTo(nil)))
	l.must(l.fe.Do(vhostuser.SetVringKick, vhostuser.VringFile{NoFD: true}.AppendTo(nil)))
	for range 3 {
		l.request(r, "hello")
		l.used(r)
	}
}

func TestNothingIsLeft(t *testing.T) {
	dev := loop.New(loop.Config{Vrings: 2, Handle: echo, PerRing: true})
	session := func() {
		l := serve(t, dev, version1, 0)
		for i := range 2 {
			l.must(l.fe.StartRing(l.ring(i)))
		}
		l.fe.Close()
		_ = l.end()
	}
	session()
	before := vhostusertest.OpenFiles(t)
	for range 20 {
		session()
	}
	if after := vhostusertest.OpenFiles(t); after > before {
		t.Errorf("%d file descriptors before, %d after", before, after)
	}
}

// Look sees a ring only while the ring is idle, and only if the ring is running.
func TestLook(t *testing.T) {
	dev := loop.New(loop.Config{Vrings: 2, Handle: echo})
	l := serve(t, dev, version1|protocol, 1<<vhostuser.ProtocolFeatureReplyAck)
	look := func() (is bool, used uint16) {
		is = dev.Look(1, func(q *virtqueue.Queue, enabled bool) { used = q.UsedIdx() })
		return is, used
	}
	if is, _ := look(); is {
		t.Error("there is a ring before one was started")
	}
	r := l.ring(1)
	l.must(l.fe.StartRing(r))
	for i := range 5 {
		l.request(r, "hello")
		l.used(r)
		if is, used := look(); !is || int(used) != i+1 {
			t.Errorf("ring %v, used index %d after %d requests", is, used, i+1)
		}
	}
	if _, err := l.fe.StopRing(r); err != nil {
		t.Fatal(err)
	}
	if is, _ := look(); is {
		t.Error("there is a ring after it was stopped")
	}
}
