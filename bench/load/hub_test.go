package load_test

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"sync"
	"testing"

	"vswitchd/bench/load"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
)

// A hub is a back-end with some ports, in this process. It copies each frame to the port that its
// destination address names, or to all others if it is for everybody.
type hub struct {
	testing.TB
	features uint64 // offered besides VERSION_1 and MRG_RXBUF
	queues   int    // of each port

	// change returns what becomes of a frame, header included, which is a copy; nil: it goes as it
	// is. It is called with the frame's number, from 0.
	change func(n int, frame []byte) [][]byte

	mu      sync.Mutex // held while any queue is used
	ports   []*socket
	flood   bool // frames go to all ports but their own
	frames  int
	dropped uint64 // for want of receive buffers
	batch   *virtqueue.Batch
	room    *virtqueue.Batch
	quit    bool
	done    chan struct{}
}

// A socket is one port of a hub: a vhostuser.Device.
type socket struct {
	*hub
	rings []*vhostuser.Ring
}

func newHub(tb testing.TB, features uint64) *hub {
	h := &hub{TB: tb, features: features, queues: 1, done: make(chan struct{})}
	h.batch, h.room = virtqueue.NewBatch(64), virtqueue.NewBatch(64)
	tb.Cleanup(h.close)
	go h.run()
	return h
}

func (h *hub) close() {
	h.mu.Lock()
	h.quit = true
	h.mu.Unlock()
	<-h.done
}

// connect adds a port, with a guest.
func (h *hub) connect(cfg load.Config) *load.Port {
	h.Helper()
	fe, backend, err := vhostusertest.Pair()
	if err != nil {
		h.Fatal(err)
	}
	s := &socket{h, make([]*vhostuser.Ring, 2*h.queues)}
	h.mu.Lock()
	h.ports = append(h.ports, s)
	h.mu.Unlock()
	ended := make(chan error, 1)
	go func() { ended <- vhostuser.Serve(context.Background(), backend, s, vhostuser.Options{}) }()
	p, err := load.New(fe, cfg)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		p.Close()
		<-ended
	})
	return p
}

func (s *socket) Attach(*vhostuser.Session) {}
func (s *socket) Features() uint64          { return s.features | 1<<virtqueue.FeatureVersion1 | 1<<15 }
func (s *socket) ProtocolFeatures() uint64 {
	return 1<<vhostuser.ProtocolFeatureMQ | 1<<vhostuser.ProtocolFeatureReplyAck
}
func (s *socket) QueueNum() uint64      { return uint64(s.queues) }
func (s *socket) MaxVrings() int        { return len(s.rings) }
func (s *socket) FeaturesSet(uint64)    {}
func (s *socket) RingEnabled(int, bool) {}

func (s *socket) Quiesce() (resume func()) {
	s.mu.Lock()
	return s.mu.Unlock
}

func (s *socket) RingStarted(r vhostuser.Ring) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rings[r.Index] = &r
	return nil
}

func (s *socket) RingStopped(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rings[i] = nil
}

func (h *hub) run() {
	defer close(h.done)
	for h.round() {
		runtime.Gosched()
	}
}

func (h *hub) round() (again bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, p := range h.ports {
		for k := 1; k < len(p.rings); k += 2 {
			if r := p.rings[k]; r != nil {
				h.forward(i, r.Queue)
			}
		}
	}
	return !h.quit
}

// forward takes one batch from a port.
func (h *hub) forward(from int, q *virtqueue.Queue) {
	h.batch.Reset()
	n, err := q.Pop(h.batch, 64)
	if err != nil {
		h.Error(err)
	}
	if n == 0 {
		q.Arm() // the hub looks at the queue soon in any case
		return
	}
	for i := range h.batch.Chains {
		c := &h.batch.Chains[i]
		frames := [][]byte{bytes.Join(c.Readable, nil)}
		if h.change != nil {
			frames = h.change(h.frames, frames[0])
		}
		h.frames++
		for _, f := range frames {
			h.put(from, f)
		}
		q.Complete(c, 0)
	}
	q.Flush()
}

// put copies a frame to where it goes.
func (h *hub) put(from int, f []byte) {
	dst := f[12:18]
	for i, p := range h.ports {
		if mac := load.MAC(uint8(i), 0); i == from || !bytes.Equal(dst[:3], mac[:3]) && dst[0] != 0xff && !h.flood {
			continue
		}
		// The queue depends on the flow: bytes of the addresses that differ.
		r := p.rings[int(f[len(f[:12+29])])%h.queues*2]
		if r == nil { // not yet, or not any more
			h.dropped++
			continue
		}
		h.room.Reset()
		if n, err := r.Queue.Pop(h.room, 1); err != nil || n == 0 {
			h.dropped++
			continue
		}
		c := &h.room.Chains[0]
		f = slices.Clone(f)
		f[10] = 1 // num_buffers
		n := copy(c.Writable[0], f)
		r.Queue.Complete(c, uint32(n))
		r.Queue.Flush()
	}
}

// lost returns how many frames were dropped for want of buffers.
func (h *hub) lost() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dropped
}
