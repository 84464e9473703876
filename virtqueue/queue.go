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
	FeatureNotifyOnEmpty = 24 // VIRTIO_F_NOTIFY_ON_EMPTY, of legacy drivers
	FeatureIndirectDesc  = 28 // VIRTIO_F_INDIRECT_DESC
	FeatureEventIdx      = 29 // VIRTIO_F_EVENT_IDX
	FeatureVersion1      = 32 // VIRTIO_F_VERSION_1
	FeatureRingPacked    = 34 // VIRTIO_F_RING_PACKED
	FeatureInOrder       = 35 // VIRTIO_F_IN_ORDER
)

// Errors of a queue as a whole: it is broken until it is set up again.
var (
	ErrSetup      = errors.New("bad virtqueue")
	ErrAvailIndex = errors.New("available index is ahead by more than the queue's size")
	ErrHead       = errors.New("available ring names a descriptor outside the table")
)

// Config says what a queue is. Addresses are the front-end's virtual addresses.
type Config struct {
	Size     int    // number of descriptors, from 1 to MaxSize; of a split ring a power of two
	Desc     uint64 // descriptor table (split) or ring (packed), 16-byte aligned
	Avail    uint64 // driver area: available ring, 2-byte aligned; or driver event suppression, 4
	Used     uint64 // device area: used ring or device event suppression, 4-byte aligned
	Features uint64 // feature bits that were negotiated

	// Base is where to go on, as SET_VRING_BASE of vhost-user has it.
	//
	// Of a split ring it is the index in the available ring of the next chain to
	// take. (The index in the used ring is taken from guest memory: after a crash
	// of the device that is the only place that knows it.)
	//
	// Of a packed ring bits 0 to 14 are the place in the ring of the next descriptor
	// to take, bit 15 is its wrap counter, and bits 16 to 31 are the same for the
	// next descriptor to use. Where they differ, the queue goes on with what was
	// taken and not used. If bits 16 to 31 are 0 they are taken for unknown, and
	// the same as the others. A ring that is new begins at [PackedStart].
	Base uint32
}

// PackedStart is the Base of a packed ring that nobody has used: the first place, with
// wrap counters of 1 (2.8.1).
const PackedStart = 1<<15 | 1<<31

// A Queue is a virtqueue, split or packed, seen from the device. The zero value is no
// queue; New makes one. See the package's documentation for who may call it.
type Queue struct {
	mem  *Memory      // what descriptors are translated with
	hot  Region       // the region that the last descriptor was in
	done []completion // not yet published

	// publishing is true while done is being written to the ring, and stays true when a memory
	// fault has ended that halfway.
	publishing bool

	isPacked      bool // which of the two formats, below, it is
	eventIdx      bool
	indirect      bool
	notifyOnEmpty bool // of a split ring
	mustCall      bool // signal at the next Flush whatever the driver says
	logging       bool // log != nil
	logUsed       bool // as well as payload
	tracked       bool // inOrder, or inflight != nil
	inOrder       bool // of a split ring
	absent        bool // the rings are not in mem
	sends         bool // see DriverSends
	broken        error

	// A split ring.
	ring      splitRing // the three areas, in guest memory
	mask      uint16
	lastAvail uint16 // next entry of the available ring to take
	usedIdx   uint16 // as published
	signalled uint16 // usedIdx when the driver was last considered for a signal
	usedFlags uint16 // flags as last written to the used ring

	packed packed

	order order

	maxPieces int // see LimitPieces

	log      *DirtyLog
	logHot   Region // the region that was written to last
	usedAddr uint64 // guest-physical address of the device area

	inflight    inflight
	resubmits   []uint16 // chains that one before us had popped, by their names in inflight
	resubmitted int      // so many of them have been popped again
	resubmit    []uint16 // the others
	fresh       int      // chains popped after those

	recording bool         // popPacked keeps what it loads ...
	raw       []packedDesc // ... here

	callFD int
	calls  uint64 // signals sent
	cfg    Config
}

// New sets a queue up: it translates and checks the addresses of its rings. The
// driver is going to be signalled once, whatever it asks for: it may have waited
// for a device that was not there.
func New(mem *Memory, cfg Config) (*Queue, error) {
	isPacked := cfg.Features&(1<<FeatureRingPacked) != 0
	if cfg.Size < 1 || cfg.Size > MaxSize || cfg.Size&(cfg.Size-1) != 0 && !isPacked {
		return nil, fmt.Errorf("%w: size %d is not a power of two (or, packed, any number) from 1 to %d", ErrSetup, cfg.Size, MaxSize)
	}
	has := func(feature int) bool { return cfg.Features&(1<<feature) != 0 }
	q := &Queue{
		isPacked:      isPacked,
		eventIdx:      has(FeatureEventIdx),
		indirect:      has(FeatureIndirectDesc),
		inOrder:       has(FeatureInOrder) && !isPacked,
		tracked:       has(FeatureInOrder) && !isPacked,
		notifyOnEmpty: has(FeatureNotifyOnEmpty),
		mustCall:      true,
		callFD:        -1,
		maxPieces:     maxChainSegs,
		cfg:           cfg,
		done:          make([]completion, 0, min(cfg.Size, 64)),
	}
	if err := q.SetMemory(mem); err != nil {
		return nil, err
	}
	start := q.startSplit
	if isPacked {
		start = q.startPacked
	}
	if err := start(); err != nil {
		return nil, err
	}
	return q, nil
}

func (q *Queue) startSplit() error {
	q.mask = uint16(q.cfg.Size - 1)
	q.lastAvail = uint16(q.cfg.Base)
	if err := guard(func() { q.usedIdx = q.ring.loadUsedIdx() }); err != nil {
		return fmt.Errorf("%w: reading the used index: %w", ErrSetup, err)
	}
	q.signalled = q.usedIdx
	return nil
}

// SetMemory makes the queue use another memory table, in which its rings are at
// the same addresses. When the rings are not in the table the queue touches
// no memory any more and is broken, until it is given a table that has them.
// Other reasons to be broken remain.
//
// What becomes of chains that were popped before:
//
//   - Those completed and not yet published stay recorded: the next Flush publishes them. (Unless
//     a memory fault has interrupted a Flush. Which of its completions the driver has seen is not
//     known then, and all of them are forgotten.)
//   - The pieces of those not completed point into memory that may be unmapped when SetMemory
//     returns, and must not be touched any more. The chains may still be completed, or given back
//     with Unpop. Where a dirty log is kept, what was written to them is not logged any more if
//     its region has gone: complete chains that were written to before SetMemory.
func (q *Queue) SetMemory(mem *Memory) error {
	q.mem, q.hot, q.logHot = mem, Region{}, Region{}
	if q.publishing {
		q.done, q.publishing = q.done[:0], false
	}
	var err error
	if q.isPacked {
		q.packed.packedRing, err = newPackedRing(mem, q.cfg)
	} else {
		q.ring, err = newSplitRing(mem, q.cfg)
	}
	if q.absent = err != nil; q.absent {
		return q.fail(err)
	}
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
// Config.Base (GET_VRING_BASE of vhost-user).
//
// Chains that are to be taken again after a crash (SetInflight), and were not, are still
// in their places if the device works in order: the base is at the first of them.
func (q *Queue) Base() uint32 {
	back := 0
	for _, id := range q.resubmit {
		back += q.inflight.descs(id)
	}
	if q.isPacked {
		return uint32(q.packed.next.sub(back, q.cfg.Size).base()) | uint32(q.packed.used.base())<<16
	}
	return uint32(q.lastAvail - uint16(back))
}

// LastAvail returns the index in the available ring of the first chain that has not
// been popped. Of a packed ring it is the place of the first descriptor that was
// not taken, with the wrap counter in bit 15.
func (q *Queue) LastAvail() uint16 { return uint16(q.Base()) }

// UsedIdx returns the used index, as last published. Of a packed ring it is the
// place of the next descriptor to use, with the wrap counter in bit 15.
func (q *Queue) UsedIdx() uint16 {
	if q.isPacked {
		return q.packed.used.base()
	}
	return q.usedIdx
}

// Calls returns how often the driver has been signalled.
func (q *Queue) Calls() uint64 { return q.calls }

// SetCall sets the eventfd that signals the driver; -1: none. The queue does not
// own it.
func (q *Queue) SetCall(fd int) { q.callFD = fd }

// DriverSends tells the queue that its driver only sends. What an indirect table of a
// packed ring says of directions is ignored then: DPDK's virtio driver (22.11) leaves
// WRITE flags on the entries of those that it transmits.
func (q *Queue) DriverSends() { q.sends = true }

// LimitPieces makes chains of more than n pieces bad ones, with ErrTooLong: a piece may be a
// single byte, and each may cost its reader a cache miss, or a page fault. The limit stays across
// SetMemory.
func (q *Queue) LimitPieces(n int) { q.maxPieces = min(n, maxChainSegs) }

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
