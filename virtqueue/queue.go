package virtqueue

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// MaxSize is the largest queue size (virtio 1.2, section 2.7).
const MaxSize = 32768

// Feature bits that change how a ring works (virtio 1.2, section 6).
const (
	FeatureIndirectDesc = 28 // VIRTIO_F_INDIRECT_DESC
	FeatureEventIdx     = 29 // VIRTIO_F_EVENT_IDX
	FeatureVersion1     = 32 // VIRTIO_F_VERSION_1
	FeatureRingPacked   = 34 // VIRTIO_F_RING_PACKED
)

// Errors of a queue as a whole: it is broken until it is set up again.
var (
	ErrSetup      = errors.New("bad virtqueue")
	ErrAvailIndex = errors.New("available index is ahead by more than the queue's size")
	ErrHead       = errors.New("available ring names a descriptor outside the table")
)

// Config says what a queue is. Addresses are the front-end's virtual addresses.
type Config struct {
	Size     int    // number of descriptors, a power of two from 1 to MaxSize
	Desc     uint64 // descriptor table, 16-byte aligned
	Avail    uint64 // available ring (driver area), 2-byte aligned
	Used     uint64 // used ring (device area), 4-byte aligned
	Features uint64 // feature bits that were negotiated

	// Base is where to go on, as SET_VRING_BASE of vhost-user has it: the index in
	// the available ring of the next chain to take.
	Base uint32
}

// A Queue is a split virtqueue, seen from the device. The zero value is no queue;
// New makes one. See the package's documentation for who may call it.
type Queue struct {
	ring ring    // the three areas, in guest memory
	mem  *Memory // what descriptors are translated with
	hot  Region  // the region that the last descriptor was in

	mask      uint16
	eventIdx  bool
	indirect  bool
	lastAvail uint16 // next entry of the available ring to take
	usedIdx   uint16 // as published
	pending   uint16 // used entries written behind usedIdx, not yet published
	signalled uint16 // usedIdx when the driver was last considered for a signal
	mustCall  bool   // signal at the next Flush whatever the driver says
	usedFlags uint16 // flags as last written to the used ring
	broken    error

	callFD int
	calls  uint64 // signals sent
	cfg    Config
}

// New sets a queue up: it translates and checks the addresses of its rings and
// takes the used index from guest memory (after a crash of the device that is
// the only place that knows it). The driver is going to be signalled once,
// whatever it asks for: it may have waited for a device that was not there.
func New(mem *Memory, cfg Config) (*Queue, error) {
	if cfg.Size < 1 || cfg.Size > MaxSize || cfg.Size&(cfg.Size-1) != 0 {
		return nil, fmt.Errorf("%w: size %d is not a power of two from 1 to %d", ErrSetup, cfg.Size, MaxSize)
	}
	if cfg.Features&(1<<FeatureRingPacked) != 0 {
		return nil, fmt.Errorf("%w: packed rings are not supported", ErrSetup)
	}
	q := &Queue{
		mask:      uint16(cfg.Size - 1),
		eventIdx:  cfg.Features&(1<<FeatureEventIdx) != 0,
		indirect:  cfg.Features&(1<<FeatureIndirectDesc) != 0,
		lastAvail: uint16(cfg.Base),
		callFD:    -1,
		cfg:       cfg,
	}
	if err := q.SetMemory(mem); err != nil {
		return nil, err
	}
	if err := guard(func() { q.usedIdx = q.ring.loadUsedIdx() }); err != nil {
		return nil, fmt.Errorf("%w: reading the used index: %w", ErrSetup, err)
	}
	q.signalled = q.usedIdx
	q.mustCall = true
	return q, nil
}

// SetMemory makes the queue use another memory table, in which its rings are at
// the same addresses. Chains popped before are void, completions not yet
// published are forgotten. When the rings are not in the table the queue touches
// no memory any more and is broken, until it is given a table that has them.
// Other reasons to be broken remain.
func (q *Queue) SetMemory(mem *Memory) error {
	q.ring, q.mem, q.hot, q.pending = ring{}, mem, Region{}, 0
	r, err := newRing(mem, q.cfg)
	if err != nil {
		return q.fail(err)
	}
	q.ring = r
	if errors.Is(q.broken, ErrSetup) {
		q.broken = nil
	}
	return nil
}

// Memory returns the table that the queue uses.
func (q *Queue) Memory() *Memory { return q.mem }

// Config returns what the queue was made from.
func (q *Queue) Config() Config { return q.cfg }

// Base returns where to go on with a queue in the place of this one, in the form of
// Config.Base (VHOST_USER_GET_VRING_BASE).
func (q *Queue) Base() uint32 { return uint32(q.lastAvail) }

// LastAvail returns the index in the available ring of the first chain that has
// not been popped.
func (q *Queue) LastAvail() uint16 { return q.lastAvail }

// UsedIdx returns the used index, as last published.
func (q *Queue) UsedIdx() uint16 { return q.usedIdx }

// Calls returns how often the driver has been signalled.
func (q *Queue) Calls() uint64 { return q.calls }

// SetCall sets the eventfd that signals the driver; -1: none. The queue does not
// own it.
func (q *Queue) SetCall(fd int) { q.callFD = fd }

// Err returns why the queue is broken, or nil.
func (q *Queue) Err() error { return q.broken }

// fail marks the queue broken; the first reason stays.
func (q *Queue) fail(err error) error {
	if q.broken == nil {
		q.broken = err
	}
	return err
}

// guard runs f, which reads guest memory, and turns a fault into an error.
func guard(f func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(interface{ Addr() uintptr }); !ok {
				panic(r)
			}
			err = fmt.Errorf("guest memory: %v", r)
		}
	}()
	f()
	return nil
}
