package virtqueue

import (
	"errors"
	"fmt"
	"runtime/debug"

	"golang.org/x/sys/cpu"
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

// Errors of a queue as a whole: the queue is broken until it is set up again.
var (
	ErrSetup      = errors.New("bad virtqueue")
	ErrAvailIndex = errors.New("available index is ahead by more than the queue's size")
	ErrHead       = errors.New("available ring names a descriptor outside the table")
)

// Config describes a queue. Addresses are the front-end's virtual addresses.
type Config struct {
	Size     int    // number of descriptors, from 1 to MaxSize; in a split ring a power of two
	Desc     uint64 // descriptor table (split) or descriptor ring (packed), 16-byte aligned
	Avail    uint64 // driver area: available ring (2-byte aligned) or event suppression (4-byte)
	Used     uint64 // device area: used ring or device event suppression, 4-byte aligned
	Features uint64 // feature bits that were negotiated

	// Base is the position at which the queue continues, in the format of
	// vhost-user's SET_VRING_BASE.
	//
	// In a split ring it is the available-ring index of the next chain to pop. (The used index
	// is read from guest memory: after a crash of the device no other copy exists.)
	//
	// In a packed ring bits 0 to 14 are the index of the next descriptor to pop and bit 15 is
	// its wrap counter; bits 16 to 31 are the same for the next descriptor to mark used. Where
	// the two differ, the queue continues with the descriptors that were popped and not used.
	// If bits 16 to 31 are 0 they are taken as unknown, and as equal to the lower half. A new
	// ring begins at [PackedStart].
	Base uint32
}

// PackedStart is the Base of an unused packed ring: index 0, with both wrap counters 1 (2.8.1).
const PackedStart = 1<<15 | 1<<31

// A Queue is a virtqueue, split or packed, seen from the device. The zero value is not usable; New
// returns a Queue. The package documentation says who may call its methods.
type Queue struct {
	mem  *Memory      // translates the addresses in descriptors
	hot  Region       // the region that contained the last translated address
	done []completion // completed and not yet published

	// publishing is true while done is being written to the ring, and stays true when a memory
	// fault has aborted that.
	publishing bool

	isPacked      bool // the format of the ring
	eventIdx      bool
	indirect      bool
	notifyOnEmpty bool // split ring only
	mustCall      bool // signal at the next Flush whatever the driver asks for
	logging       bool // log != nil
	logUsed       bool // log the device area, too, not only payload
	tracked       bool // inOrder, or inflight != nil
	inOrder       bool // split ring only
	absent        bool // the rings are not in mem
	driverSends   bool // see DriverSends
	broken        error

	// A split ring.
	ring      splitRing // the three areas, in guest memory
	mask      uint16
	lastAvail uint16 // index of the next entry of the available ring to pop
	usedIdx   uint16 // as published
	signalled uint16 // usedIdx when wantsSignal was last called
	usedFlags uint16 // flags as last written to the used ring

	packed packed

	order order

	maxPieces int // see LimitPieces

	log      *DirtyLog
	logHot   Region // the region that was last written to
	usedAddr uint64 // guest-physical address of the device area

	inflight    inflight
	resubmits   []uint16 // chains that a previous device popped, by their ids in inflight
	resubmitted int      // how many of resubmits have been popped again
	resubmit    []uint16 // the rest of resubmits
	fresh       int      // chains popped after resubmits and not published or unpopped

	recording bool         // popPacked keeps the descriptors that it loads ...
	raw       []packedDesc // ... here

	callFD int
	calls  uint64 // signals sent
	cfg    Config

	_ cpu.CacheLinePad // what lies behind may belong to another queue, and another thread
}

// New sets up a queue: it translates and checks the addresses of its rings. The first Flush
// signals the driver whatever the driver asks for: it may have been waiting for a device
// that was not there.
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

// SetMemory makes the queue use another memory table, in which its rings are at the same front-end
// addresses. If the rings are not in the table, the queue is broken and touches no memory until it
// is given a table that contains them. Other reasons to be broken persist.
//
// Effect on chains that were popped before:
//
//   - Chains that are completed and not yet published stay recorded: the next Flush publishes them.
//     (Unless a memory fault has aborted a Flush. It is then unknown which of its completions the
//     driver has seen, and all of them are discarded.)
//   - The pieces of chains that are not completed point into memory that may be unmapped when
//     SetMemory returns, and must not be touched any more. The chains may still be completed, or
//     returned with Unpop. With a dirty log, writes to a region that is not in the new table can no
//     longer be logged: chains that were written to have to be completed before SetMemory.
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

// Memory returns the table that the queue translates addresses with.
func (q *Queue) Memory() *Memory { return q.mem }

// Config returns the Config that was passed to New.
func (q *Queue) Config() Config { return q.cfg }

// Base returns the position at which a successor of this queue has to continue, in the format of
// Config.Base (GET_VRING_BASE of vhost-user).
//
// Chains that were to be resubmitted after a crash (SetInflight) and have not been popped yet are
// still in their places if the device works in order: the base is at the first of them.
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

// LastAvail returns the available-ring index of the first chain that has not been popped. In a
// packed ring it is the index of the first descriptor that has not been popped, with the wrap
// counter in bit 15.
func (q *Queue) LastAvail() uint16 { return uint16(q.Base()) }

// UsedIdx returns the used index as last published. In a packed ring it is the index of the next
// descriptor to mark used, with the wrap counter in bit 15.
func (q *Queue) UsedIdx() uint16 {
	if q.isPacked {
		return q.packed.used.base()
	}
	return q.usedIdx
}

// Calls returns how many times the driver has been signalled.
func (q *Queue) Calls() uint64 { return q.calls }

// SetCall sets the eventfd that signals the driver; -1 means none. The queue does not take
// ownership of the eventfd.
func (q *Queue) SetCall(fd int) { q.callFD = fd }

// DriverSends declares that all buffers of the queue are device-readable. The WRITE flags in
// indirect tables of a packed ring are then ignored: DPDK's virtio driver (22.11) leaves them set
// in entries of frames that it transmits.
func (q *Queue) DriverSends() { q.driverSends = true }

// LimitPieces makes chains of more than n pieces invalid, with ErrTooLong: a piece may be a single
// byte, and each may cost its reader a cache miss, or a page fault. SetMemory keeps the limit.
func (q *Queue) LimitPieces(n int) { q.maxPieces = min(n, maxChainSegs) }

// Err returns why the queue is broken, or nil.
func (q *Queue) Err() error { return q.broken }

// fail marks the queue broken; the first reason is kept.
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
