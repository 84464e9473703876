package netport

import (
	"sync"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/virtqueue"
)

// An rxQueue is a receiveq: where frames for the guest go. Any worker may have some.
//
// mu guards all below it. It is held for one group of frames.
type rxQueue struct {
	port  *Port
	index int

	mu        sync.Mutex
	vq        *virtqueue.Queue // nil: not running
	enabled   bool
	spare     bool // the driver receives on fewer queues
	filled    bool // there was a buffer since the queue became active
	mergeable bool
	hdrLen    int
	size      int // of the ring
	badChains uint64
	batch     *virtqueue.Batch
	calls     uint64 // of queues before vq
	atRing    bool   // a ring is being accessed, not a frame: a fault ends the session

	group // of frames that is being transmitted
}

// group is how far transmit has come with a group of frames.
type group struct {
	frames int // how many there are
	next   int // frame that is being copied
	taken  int // chains of the batch that are completed
	popped int // chains, all in all
	bad    int // chains
	pieces int // of memory that frames were copied to which took several
	sent   int // frames
	bytes  int // of those
}

func (q *rxQueue) start(r vhostuser.Ring, features uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.vq, q.enabled, q.filled = r.Queue, r.Enabled, false
	q.hdrLen, q.size = headerLenFor(features), r.Queue.Config().Size
	q.vq.LimitPieces(maxPieces)
	q.mergeable = features&(1<<featureMrgRxbuf) != 0
	q.batch = virtqueue.NewBatch(vswitch.MaxBatch)
	// Buffers are looked for when there is a frame, never waited for. (A fault
	// shows again, and is dealt with, at the first frame.)
	defer func() {
		if r := recover(); r != nil {
			q.fault(r)
		}
	}()
	defer setPanicOnFault()()
	q.atRing = true
	q.vq.Disarm()
	q.atRing = false
}

func (q *rxQueue) enable(on bool) {
	q.mu.Lock()
	q.enabled, q.filled = on, false
	q.mu.Unlock()
}

func (q *rxQueue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.vq != nil {
		q.calls += q.vq.Calls()
	}
	q.vq, q.batch = nil, nil
}

func (q *rxQueue) receiving() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.active()
}

// active tells whether there may be frames for the queue. mu is held.
func (q *rxQueue) active() bool { return q.vq != nil && q.enabled && !q.spare }

func (q *rxQueue) totalCalls() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.vq == nil {
		return q.calls
	}
	return q.calls + q.vq.Calls()
}
