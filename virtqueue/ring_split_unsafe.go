package virtqueue

import (
	"sync/atomic"
	"unsafe"
)

// A splitRing is the three areas of a split virtqueue (virtio 1.2, sections 2.7.5, 2.7.6, 2.7.8),
// in guest memory:
//
//	descriptor table   Size * 16 bytes
//	available ring     le16 flags, le16 idx, le16 ring[Size], le16 used_event
//	used ring          le16 flags, le16 idx, {le32 id, le32 len}[Size], le16 avail_event
//
// newSplitRing has checked that each area, event fields included, lies within one mapping and is
// aligned. The slices carry their lengths, so that the language checks indices; the single words
// are inside the areas by the layout above.
//
// Go has no atomic access to 16 bits. The driver's {flags, idx} are loaded as the aligned 32-bit
// words that contain them, and ours are stored as one word. (An available ring need only be
// aligned to 2; flags and idx are then in different words, the first of which may begin 2 bytes
// before the area but not before the page.) The plain 16-bit accesses that remain are single
// instructions on every machine that Go runs on; where they have to be ordered, an atomic access
// stands between them.
//
// Rings are little-endian, and so are the machines that this runs on.
type splitRing struct {
	desc  [][2]uint64
	avail []uint16
	used  [][2]uint32

	availFlags, availIdx           *uint32
	availFlagsShift, availIdxShift uint8
	usedHead                       *uint32 // flags, idx
	usedEvent                      *uint16 // written by the driver: signal when used.idx passes it
	availEvent                     *uint16 // written by us: kick when avail.idx passes it
}

// Flags of a descriptor.
const (
	descNext     = 1
	descWrite    = 2
	descIndirect = 4
	descSize     = 16
)

// Flags of the rings, with which one side asks the other not to notify it.
const (
	availNoInterrupt = 1
	usedNoNotify     = 1
)

func newSplitRing(mem *Memory, cfg Config) (splitRing, error) {
	size := uint64(cfg.Size)
	desc, err := area(mem, "descriptor table", cfg.Desc, size*descSize, 16)
	if err != nil {
		return splitRing{}, err
	}
	avail, err := area(mem, "available ring", cfg.Avail, 4+size*2+2, 2)
	if err != nil {
		return splitRing{}, err
	}
	used, err := area(mem, "used ring", cfg.Used, 4+size*8+2, 4)
	if err != nil {
		return splitRing{}, err
	}
	r := splitRing{
		desc:       unsafe.Slice((*[2]uint64)(desc), cfg.Size),
		avail:      unsafe.Slice((*uint16)(unsafe.Add(avail, 4)), cfg.Size),
		used:       unsafe.Slice((*[2]uint32)(unsafe.Add(used, 4)), cfg.Size),
		usedHead:   (*uint32)(used),
		usedEvent:  (*uint16)(unsafe.Add(avail, 4+size*2)),
		availEvent: (*uint16)(unsafe.Add(used, 4+size*8)),
	}
	r.availFlags, r.availFlagsShift = wordOf(avail)
	r.availIdx, r.availIdxShift = wordOf(unsafe.Add(avail, 2))
	return r, nil
}

// wordOf returns the aligned 32-bit word that contains the 16 bits at p, which is aligned to
// 2, and by how many bits to shift it right. The word does not cross a page boundary, so all
// of it is mapped.
func wordOf(p unsafe.Pointer) (*uint32, uint8) {
	odd := uintptr(p) & 3
	return (*uint32)(unsafe.Add(p, -int(odd))), uint8(8 * odd)
}

func (r *splitRing) loadAvailIdx() uint16 {
	return uint16(atomic.LoadUint32(r.availIdx) >> r.availIdxShift)
}

func (r *splitRing) loadAvailFlags() uint16 {
	return uint16(atomic.LoadUint32(r.availFlags) >> r.availFlagsShift)
}

func (r *splitRing) loadUsedIdx() uint16 { return uint16(atomic.LoadUint32(r.usedHead) >> 16) }

// unused reports whether no used element was ever published. (The index alone may have
// wrapped around to 0.)
func (r *splitRing) unused() bool {
	if r.loadUsedIdx() != 0 {
		return false
	}
	for i := range r.used {
		if r.used[i] != [2]uint32{} {
			return false
		}
	}
	return true
}

// storeUsed publishes the used index and our flags. It is a full fence; see exchange32.
func (r *splitRing) storeUsed(flags, idx uint16) {
	exchange32(r.usedHead, uint32(flags)|uint32(idx)<<16)
}

// entriesOf returns completions as the entries of the used ring that they are: in a split ring a
// chain's name is its head.
func entriesOf(done []completion) [][2]uint32 {
	return unsafe.Slice((*[2]uint32)(unsafe.Pointer(unsafe.SliceData(done))), len(done))
}

// A desc is a descriptor, in private memory.
type desc struct {
	addr        uint64
	len         uint32
	flags, next uint16
}

// loadDesc loads a descriptor, each half of it once.
func loadDesc(d *[2]uint64) desc {
	addr := atomic.LoadUint64(&d[0])
	w := atomic.LoadUint64(&d[1])
	return desc{addr: addr, len: uint32(w), flags: uint16(w >> 32), next: uint16(w >> 48)}
}

// bytesOf returns the memory of a private table: all of its bytes and no others.
func bytesOf(table [][2]uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(table))), len(table)*descSize)
}
