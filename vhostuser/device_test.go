package vhostuser_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Feature bits of the tests.
const (
	version1  = 1 << virtqueue.FeatureVersion1
	packed    = 1 << virtqueue.FeatureRingPacked
	inOrder   = 1 << virtqueue.FeatureInOrder
	eventIdx  = 1 << virtqueue.FeatureEventIdx
	protocol  = 1 << vhostuser.FeatureProtocolFeatures
	mq        = 1 << vhostuser.ProtocolFeatureMQ
	replyAck  = 1 << vhostuser.ProtocolFeatureReplyAck
	memSlots  = 1 << vhostuser.ProtocolFeatureConfigureMemSlots
	allVirtio = version1 | eventIdx | protocol
	allProto  = mq | replyAck | memSlots
)

var errGuestMemory = errors.New("guest memory is gone")

// device completes every chain that it pops, with the length of the chain's writable buffers. It
// has one goroutine for each ring and one lock for all of them.
type device struct {
	vrings   int
	startErr error         // returned by RingStarted
	idle     bool          // never looks at its rings
	hold     int           // number of chains that are popped and not completed
	slow     chan struct{} // if set, each batch receives from it under the lock

	mu      sync.Mutex                        // held by the data plane
	session atomic.Pointer[vhostuser.Session] // read by tests
	rings   map[int]*worker
	touched byte
	events  *log
}

// log collects events, for tests to wait for.
type log struct {
	mu   sync.Mutex
	all  []string
	more chan struct{}
}

func (l *log) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, fmt.Sprintf(format, args...))
	close(l.more)
	l.more = make(chan struct{})
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, ", ")
}

type worker struct {
	ring vhostuser.Ring
	stop int // eventfd
	done chan struct{}
}

func newDevice(vrings int) *device {
	return &device{vrings: vrings, rings: map[int]*worker{}, events: &log{more: make(chan struct{})}}
}

func (d *device) Attach(s *vhostuser.Session)    { d.session.Store(s) }
func (d *device) Features() uint64               { return version1 | eventIdx | packed | inOrder }
func (d *device) ProtocolFeatures() uint64       { return ^uint64(0) } // the session drops the rest
func (d *device) QueueNum() uint64               { return uint64(d.vrings / 2) }
func (d *device) MaxVrings() int                 { return d.vrings }
func (d *device) FeaturesSet(features uint64)    { d.events.add("features %#x", features) }
func (d *device) RingEnabled(index int, on bool) { d.events.add("enabled %d %v", index, on) }

// Quiesce waits for the workers. Until then they may have used the eventfds and the memory of
// before: the eventfds must be open, and the memory mapped.
func (d *device) Quiesce() (resume func()) {
	d.mu.Lock()
	d.events.add("quiesce")
	d.touch()
	if s := d.session.Load(); s != nil {
		for i, v := range s.Snapshot().Vrings {
			if v.Call < 0 {
				continue
			}
			if _, err := unix.FcntlInt(uintptr(v.Call), unix.F_GETFD, 0); err != nil {
				d.events.add("eventfd of vring %d is closed", i)
				s.Fail(fmt.Errorf("eventfd of vring %d was closed while it was in use: %w", i, err))
			}
		}
	}
	return d.mu.Unlock
}

// touch reads from all memory of the rings.
func (d *device) touch() {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			d.session.Load().Fail(fmt.Errorf("memory was unmapped while it was in use: %v", r))
		}
	}()
	for _, w := range d.rings {
		for _, r := range w.ring.Queue.Memory().Regions() {
			d.touched += r.Mem[0]
		}
	}
}

func (d *device) RingStarted(r vhostuser.Ring) error {
	d.events.add("started %d enabled=%v kick=%v", r.Index, r.Enabled, r.Kick >= 0)
	if d.startErr != nil {
		return d.startErr
	}
	stop, err := vhostusertest.NewEventFD()
	if err != nil {
		return err
	}
	w := &worker{ring: r, stop: stop, done: make(chan struct{})}
	d.rings[r.Index] = w
	if d.idle {
		close(w.done)
	} else {
		go d.run(w)
	}
	return nil
}

func (d *device) RingStopped(index int) {
	w := d.rings[index]
	_ = vhostusertest.Signal(w.stop)
	<-w.done
	d.touch()
	delete(d.rings, index)
	_ = unix.Close(w.stop)
	d.events.add("stopped %d", index)
}

func (d *device) run(w *worker) {
	defer close(w.done)
	batch := virtqueue.NewBatch(16)
	fds := []unix.PollFd{{Fd: int32(w.stop), Events: unix.POLLIN}, {Fd: int32(w.ring.Kick), Events: unix.POLLIN}}
	for {
		if err := d.work(w.ring.Queue, batch); err != nil {
			d.session.Load().Fail(err)
			return
		}
		timeout := -1
		if w.ring.Kick < 0 {
			timeout = 1 // no kicks: look every millisecond
		}
		if _, err := unix.Poll(fds, timeout); err != nil && !errors.Is(err, unix.EINTR) {
			d.session.Load().Fail(err)
			return
		}
		if fds[0].Revents != 0 {
			return
		}
		if fds[1].Revents != 0 {
			_, _ = unix.Read(w.ring.Kick, make([]byte, 8))
		}
	}
}

// work completes all available chains. A fault in guest memory becomes an error.
func (d *device) work(q *virtqueue.Queue, batch *virtqueue.Batch) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slow != nil {
		<-d.slow
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(interface{ Addr() uintptr })
			if !ok || !d.session.Load().Contains(f.Addr()) {
				panic(r)
			}
			err = errGuestMemory
		}
	}()
	for {
		batch.Reset()
		n, err := q.Pop(batch, 16)
		if err != nil {
			return err
		}
		for _, c := range batch.Chains {
			if d.hold > 0 {
				d.hold--
				d.events.add("holds a chain")
				continue
			}
			q.Complete(&c, uint32(virtqueue.Len(c.Writable)))
		}
		q.Flush()
		if n == 0 && !q.Arm() {
			return nil
		}
	}
}

// harness is a session with a test front-end.
type harness struct {
	t      *testing.T
	dev    *device
	as     vhostuser.Device // dev, with or without hooks
	fe     *vhostusertest.FrontEnd
	cancel context.CancelCauseFunc
	ended  chan error
	err    error
	opts   vhostuser.Options
}

// serve starts a session. At the end of the test no resources of it may be left.
func serve(t *testing.T, dev *device) *harness {
	t.Helper()
	return serveDevice(t, dev, dev)
}

// serveFull is serve for a device with hooks.
func serveFull(t *testing.T, dev *fullDevice) *harness {
	t.Helper()
	return serveDevice(t, dev.device, dev)
}

func serveDevice(t *testing.T, dev *device, as vhostuser.Device) *harness {
	t.Helper()
	return serveWith(t, dev, as, vhostuser.Options{})
}

// serveWith is serve with options.
func serveWith(t *testing.T, dev *device, as vhostuser.Device, opts vhostuser.Options) *harness {
	t.Helper()
	fds, maps := vhostusertest.OpenFiles(t), vhostusertest.Mapped(t, "guest memory")
	h := &harness{t: t, dev: dev, as: as, opts: opts}
	fe, backend, err := vhostusertest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	h.connect(fe, backend)
	t.Cleanup(func() {
		h.fe.Close()
		_ = h.wait()
		h.cancel(nil)
		if n := len(dev.rings); n > 0 {
			t.Errorf("%d rings are still started after the session", n)
		}
		if n := vhostusertest.OpenFiles(t); n != fds {
			t.Errorf("%d file descriptors are open after the session, %d before", n, fds)
		}
		if n := vhostusertest.Mapped(t, "guest memory"); n != maps {
			t.Errorf("%d mappings of guest memory after the session, %d before", n, maps)
		}
	})
	return h
}

// connect starts a session.
func (h *harness) connect(fe *vhostusertest.FrontEnd, backend *net.UnixConn) {
	ctx, cancel := context.WithCancelCause(context.Background())
	h.fe, h.cancel, h.ended, h.err = fe, cancel, make(chan error, 1), nil
	go func(ended chan error) { ended <- vhostuser.Serve(ctx, backend, h.as, h.opts) }(h.ended)
}

// crash ends the session as if the back-end had died, and connects the front-end to another one,
// which has no state of the session.
func (h *harness) crash() {
	h.t.Helper()
	h.cancel(errors.New("crash"))
	_ = h.wait()
	fe, backend, err := h.fe.Reconnect()
	h.must(err)
	h.connect(fe, backend)
}

// wait waits for the session's end and returns its reason.
func (h *harness) wait() error {
	h.t.Helper()
	if h.err == nil {
		select {
		case h.err = <-h.ended:
		case <-time.After(vhostusertest.Timeout):
			h.t.Fatalf("session does not end; it has seen: %v", h.dev.events)
		}
	}
	return h.err
}

// negotiate does the handshake and shares 16 MiB of memory.
func (h *harness) negotiate(features, proto uint64) *vhostusertest.Memory {
	h.t.Helper()
	if err := h.fe.Handshake(features, proto); err != nil {
		h.t.Fatal(err)
	}
	mem, err := h.fe.NewMemory(16 << 20)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.fe.ShareMemory(); err != nil {
		h.t.Fatal(err)
	}
	return mem
}

// ring makes a ring of 64 entries.
func (h *harness) ring(mem *vhostusertest.Memory, index int) *vhostusertest.Ring {
	h.t.Helper()
	r, err := h.fe.NewRing(mem, index, 64, 64<<10)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// offer makes a chain available to the device, without a kick.
func offer(t *testing.T, r *vhostusertest.Ring) {
	t.Helper()
	if _, err := r.Driver.AddChain(nil, []virtqueuetest.Buf{r.Driver.Alloc(100)}); err != nil {
		t.Fatal(err)
	}
	r.Driver.Publish()
}

// expectUsed waits for the device's signals until it has used a chain.
func expectUsed(t *testing.T, r *vhostusertest.Ring) {
	t.Helper()
	for {
		if head, n, ok := r.Driver.PollUsed(); ok {
			if n != 100 {
				t.Errorf("device wrote %d bytes, want 100", n)
			}
			r.Driver.Release(head)
			return
		}
		if r.Driver.Arm() {
			continue
		}
		if err := r.WaitCall(); err != nil {
			t.Fatal(err)
		}
	}
}

// pass sends a chain through the device and back.
func pass(t *testing.T, r *vhostusertest.Ring) {
	t.Helper()
	offer(t, r)
	if err := r.Kick(); err != nil {
		t.Fatal(err)
	}
	expectUsed(t, r)
}

func (h *harness) do(r vhostuser.Request, payload []byte, fds ...int) {
	h.t.Helper()
	if err := h.fe.Do(r, payload, fds...); err != nil {
		h.t.Fatal(err)
	}
}

// refused expects the back-end to refuse a message in its REPLY_ACK reply.
func (h *harness) refused(r vhostuser.Request, payload []byte, fds ...int) {
	h.t.Helper()
	if err := h.fe.Do(r, payload, fds...); !errors.Is(err, vhostusertest.ErrNack) {
		h.t.Errorf("%v: got %v, want a refusal", r, err)
	}
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// vring returns the state of a vring.
func (h *harness) vring(i int) vhostuser.Vring { return h.dev.session.Load().Snapshot().Vrings[i] }

func state(index, num uint32) []byte {
	return vhostuser.VringState{Index: index, Num: num}.AppendTo(nil)
}

func file(index uint8) []byte { return vhostuser.VringFile{Index: index}.AppendTo(nil) }

func noFile(index uint8) []byte {
	return vhostuser.VringFile{Index: index, NoFD: true}.AppendTo(nil)
}

func u64(v uint64) []byte { return vhostuser.AppendU64(nil, v) }
