package netport

import (
	"sync"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/virtqueue"

	"golang.org/x/sys/cpu"
)

// An rxQueue is a receiveq, to which frames for the guest go. Any worker may have frames for it.
//
// mu guards all fields below it. It is held for one group of frames.
type rxQueue struct {
	port  *Port
	index int

	mu        sync.Mutex
	vq        *virtqueue.Queue // nil: not running
	enabled   bool
	spare     bool // the driver receives on fewer queues
	filled    bool // the driver has made a buffer available since the queue became active
	mergeable bool
	hdrLen    int
	size      int // of the ring, in descriptors
	badChains uint64
	batch     *virtqueue.Batch
	calls     uint64 // of previous rings
	atRing    bool   // the ring is being accessed, not a frame: a fault ends the session

	held      *heldFrames // nil: none
	heldTotal uint64
	drain     drainState
	short     int    // available chains that are not enough for the first held frame
	wake      func() // has a worker poll the queue's drain; nil: frames are not held

	group // the frames that are being transmitted

	kick int // of the drain; set only while the worker does not have the drain

	_ cpu.CacheLinePad // what lies behind may be another worker's
}

// group is the progress of transmit with a group of frames.
type group struct {
	frames int // number of frames in the group
	next   int // index of the frame that is being copied
	taken  int // chains of the batch that are completed
	popped int // chains popped for the group
	bad    int // invalid chains
	pieces int // pieces of memory of the frames that took more than one
	sent   int // frames
	bytes  int // of the frames sent

	old       bool // the frames are held ones
	kept      int  // frames that are held from now on
	firstKept int  // index of the first frame for which there was no buffer; if none, frames
}

func (q *rxQueue) start(r vhostuser.Ring, features uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.vq, q.enabled, q.filled = r.Queue, r.Enabled, false
	q.hdrLen, q.size = headerLenFor(features), r.Queue.Config().Size
	q.vq.LimitPieces(maxPieces)
	q.mergeable = features&(1<<featureMrgRxbuf) != 0
	q.batch = virtqueue.NewBatch(vswitch.MaxBatch)
	// Buffers are looked for when there is a frame, never waited for, so kicks are not needed.
	// (A fault recurs, and is handled, at the first frame.)
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
	q.discardHeld(vswitch.DropDown)
	q.mu.Unlock()
}

func (q *rxQueue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.vq != nil {
		q.calls += q.vq.Calls()
	}
	q.discardHeld(vswitch.DropDown)
	q.vq, q.batch, q.held = nil, nil, nil
}

func (q *rxQueue) receiving() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.active()
}

// active reports whether frames may be sent to the queue. The caller holds mu.
func (q *rxQueue) active() bool { return q.vq != nil && q.enabled && !q.spare }

func (q *rxQueue) totalCalls() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.vq == nil {
		return q.calls
	}
	return q.calls + q.vq.Calls()
}
