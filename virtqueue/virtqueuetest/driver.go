package virtqueuetest

import (
	"errors"
	"fmt"
	"slices"

	"vswitchd/virtqueue"
)

// ErrFull says that there are not enough free descriptors, or no room for an indirect table, until
// used chains are released.
var ErrFull = errors.New("virtqueue is full")

// A Buf is a range of guest-physical memory, as one descriptor describes it.
type Buf struct {
	Addr uint64
	Len  uint32
}

// A Driver drives one virtqueue, split or packed. The package documentation says how it may be
// used concurrently.
type Driver struct {
	cfg  virtqueue.Config
	mem  *virtqueue.Memory
	ring ring
	mask uint16

	packed *packedDriver // nil: the ring is split
	order  *inOrder      // nil: the device may return chains in any order

	// Private book-keeping: none of this is read from shared memory.
	next     []uint16       // by descriptor: the next free one, or the next in its chain
	last     []uint16       // by head: the last descriptor of the chain
	count    []uint16       // by head: number of descriptors in the chain
	table    map[uint16]Buf // by head: the chain's indirect table
	writable []uint32       // by head: number of bytes in the writable buffers
	free     uint16         // first free descriptor
	nfree    int

	availFlags uint16
	availIdx   uint16 // index of the next entry of the available ring to fill
	published  uint16 // availIdx as last published
	usedIdx    uint16 // index of the next entry of the used ring to read

	room arena
}

// New returns a driver for the queue that cfg describes, in the given regions. It initializes the
// three areas: no descriptor is available, both indices are cfg.Base, and the driver asks to be
// signalled. (A packed ring with a base of 0 gets [virtqueue.PackedStart].) Addresses in cfg are
// the front-end's virtual ones, as in package virtqueue.
//
// Call [Driver.Room] before Alloc and AddIndirect.
func New(regions []virtqueue.Region, cfg virtqueue.Config) (*Driver, error) {
	packed := cfg.Features&(1<<virtqueue.FeatureRingPacked) != 0
	if cfg.Size < 1 || cfg.Size > virtqueue.MaxSize || cfg.Size&(cfg.Size-1) != 0 && !packed {
		return nil, fmt.Errorf("size %d is not a power of two from 1 to %d", cfg.Size, virtqueue.MaxSize)
	}
	if packed && cfg.Base == 0 {
		cfg.Base = virtqueue.PackedStart
	}
	mem, err := virtqueue.NewMemory(regions)
	if err != nil {
		return nil, err
	}
	d := &Driver{
		cfg:       cfg,
		mem:       mem,
		mask:      uint16(cfg.Size - 1),
		next:      make([]uint16, cfg.Size),
		last:      make([]uint16, cfg.Size),
		count:     make([]uint16, cfg.Size),
		table:     map[uint16]Buf{},
		writable:  make([]uint32, cfg.Size),
		nfree:     cfg.Size,
		availIdx:  uint16(cfg.Base),
		published: uint16(cfg.Base),
		usedIdx:   uint16(cfg.Base),
	}
	if cfg.Features&(1<<virtqueue.FeatureInOrder) != 0 {
		d.order = &inOrder{heads: make([]uint16, cfg.Size)}
	}
	if packed {
		d.packed, err = newPackedDriver(regions, cfg)
		return d, err
	}
	if d.ring, err = newRing(regions, cfg); err != nil {
		return nil, err
	}
	for i := range d.next {
		d.next[i] = uint16(i+1) & d.mask
	}
	d.ring.storeUsed(0, d.usedIdx)
	d.ring.storeUsedEvent(d.usedIdx)
	d.ring.storeAvail(0, d.availIdx)
	return d, nil
}

// NewLocal returns a driver on the Go heap: one region that holds the rings, followed by room bytes
// for buffers. Guest-physical and user addresses differ, so that a mix-up of the two is noticed.
func NewLocal(size int, features uint64, room int) (*Driver, error) {
	const guest, user = 0x4000_0000, 0x7f00_0000_0000
	cfg, end := Layout(size, user)
	cfg.Features = features
	rings := int(end-user+4095) &^ 4095
	d, err := New([]virtqueue.Region{{
		GuestAddr: guest,
		UserAddr:  user,
		Mem:       make([]byte, (rings+room+4095)&^4095),
	}}, cfg)
	if err != nil {
		return nil, err
	}
	d.Room(guest+uint64(rings), uint64(room))
	return d, nil
}

// Layout places the three areas of a queue one after another from user address at on, each aligned
// as the specification demands, and returns the first address after them.
func Layout(size int, at uint64) (cfg virtqueue.Config, end uint64) {
	up := func(a, align uint64) uint64 { return (a + align - 1) &^ (align - 1) }
	n := uint64(size)
	cfg.Size = size
	cfg.Desc = up(at, 16)
	cfg.Avail = cfg.Desc + 16*n
	cfg.Used = up(cfg.Avail+4+2*n+2, 4)
	return cfg, cfg.Used + 4 + 8*n + 2
}

// Memory returns the table of the driver's regions.
func (d *Driver) Memory() *virtqueue.Memory { return d.mem }

// Config returns the Config for the device's side of the queue.
func (d *Driver) Config() virtqueue.Config { return d.cfg }

// Free returns the number of free descriptors.
func (d *Driver) Free() int { return d.nfree }

// AddChain builds a chain of one descriptor per buffer and offers it. The device sees the chain
// after Publish. The only possible error is ErrFull.
func (d *Driver) AddChain(readable, writable []Buf) (head uint16, err error) {
	if head, err = d.Build(readable, writable); err == nil {
		d.Offer(head)
	}
	return head, err
}

// AddIndirect is AddChain with the descriptors in an indirect table, which it allocates; the chain
// takes one descriptor of the queue's table.
func (d *Driver) AddIndirect(readable, writable []Buf) (head uint16, err error) {
	if head, err = d.BuildIndirect(readable, writable); err == nil {
		d.Offer(head)
	}
	return head, err
}

// Build writes a chain of one descriptor per buffer without offering it. A chain can be offered
// again each time the device has returned it, until it is released.
func (d *Driver) Build(readable, writable []Buf) (head uint16, err error) {
	n := len(readable) + len(writable)
	if n == 0 || n > d.nfree {
		return 0, ErrFull
	}
	if d.packed != nil {
		descs := make([]PackedDesc, n)
		for k := range descs {
			descs[k] = descOf(readable, writable, k).packed()
		}
		head = d.packed.build(descs)
		d.nfree -= n
		d.count[head], d.writable[head] = uint16(n), total(writable)
		return head, nil
	}
	head = d.free
	i, last := head, head
	for k := range n {
		desc := descOf(readable, writable, k)
		if k < n-1 {
			desc.Flags |= FlagNext
			desc.Next = d.next[i]
		}
		d.ring.storeDesc(i, desc)
		last, i = i, d.next[i]
	}
	d.take(head, last, n)
	d.writable[head] = total(writable)
	return head, nil
}

// BuildIndirect is Build with the descriptors in an indirect table.
func (d *Driver) BuildIndirect(readable, writable []Buf) (head uint16, err error) {
	n := len(readable) + len(writable)
	if n == 0 || d.nfree == 0 {
		return 0, ErrFull
	}
	t, ok := d.room.alloc(16 * n)
	if !ok {
		return 0, ErrFull
	}
	table := make([]byte, 0, 16*n)
	for k := range n {
		desc := descOf(readable, writable, k)
		switch {
		case d.packed != nil:
			desc = desc.packed().desc()
		case k < n-1:
			desc.Flags |= FlagNext
			desc.Next = uint16(k + 1)
		}
		table = desc.Append(table)
	}
	d.Write(t.Addr, table)
	ref := Desc{Addr: t.Addr, Len: t.Len, Flags: FlagIndirect}
	if d.packed != nil {
		head = d.packed.build([]PackedDesc{ref.packed()})
		d.nfree--
		d.count[head] = 1
	} else {
		head = d.free
		d.ring.storeDesc(head, ref)
		d.take(head, head, 1)
	}
	d.table[head], d.writable[head] = t, total(writable)
	return head, nil
}

// descOf returns the descriptor of the k-th buffer, without its link.
func descOf(readable, writable []Buf, k int) Desc {
	if k < len(readable) {
		return Desc{Addr: readable[k].Addr, Len: readable[k].Len}
	}
	b := writable[k-len(readable)]
	return Desc{Addr: b.Addr, Len: b.Len, Flags: FlagWrite}
}

// take removes the first n free descriptors, head to last, from the free list.
func (d *Driver) take(head, last uint16, n int) {
	d.free = d.next[last]
	d.nfree -= n
	d.last[head] = last
	d.count[head] = uint16(n)
}

// total returns the number of bytes in buffers.
func total(bufs []Buf) (n uint32) {
	for _, b := range bufs {
		n += b.Len
	}
	return n
}

// Offer makes a chain available: it puts the chain's head into the next entry of the available
// ring, or the chain's descriptors into the next places of a packed ring.
func (d *Driver) Offer(head uint16) {
	if d.order != nil {
		d.order.offer(head)
	}
	if d.packed != nil {
		d.packed.offer(head)
		return
	}
	d.ring.storeAvailEntry(d.availIdx&d.mask, head)
	d.availIdx++
}

// OfferAgain offers the chains whose heads are already in the next n entries of the available ring,
// without looking at them. A driver whose chains are fixed and are returned in order fills the
// available ring once, and then works at a constant cost per batch. OfferAgain panics for a packed
// ring, which does not preserve chains.
func (d *Driver) OfferAgain(n int) {
	if d.packed != nil {
		panic("virtqueuetest: OfferAgain with a packed ring")
	}
	if d.order != nil {
		for i := range uint16(n) {
			d.order.offer(d.ring.avail[(d.availIdx+i)&d.mask])
		}
	}
	d.availIdx += uint16(n)
}

// PollUsed takes the next used chain: its head, or buffer ID, and the number of bytes that the
// device wrote. The chain still has to be released or offered again.
//
// Of several chains that one used element stands for (IN_ORDER), only the last has a length. "The
// skipped buffers ... are assumed to have been used (read or written) by the device completely."
func (d *Driver) PollUsed() (head uint16, n uint32, ok bool) {
	if d.order == nil {
		if head, n, ok = d.element(); ok {
			d.skip(head)
		}
		return head, n, ok
	}
	o := d.order
	if !o.current {
		if o.last, o.len, o.current = d.element(); !o.current {
			return 0, 0, false
		}
	}
	head, n = o.take(), o.len
	d.skip(head)
	if o.current {
		n = d.writable[head]
	}
	return head, n, true
}

// element returns the contents of the next used element, if there is one.
func (d *Driver) element() (head uint16, n uint32, ok bool) {
	if d.packed != nil {
		return d.packed.element()
	}
	if _, idx := d.ring.loadUsed(); idx == d.usedIdx {
		return 0, 0, false
	}
	e := d.ring.used[d.usedIdx&d.mask]
	return uint16(e[0]), e[1], true
}

// skip advances to the used element after that of a chain.
func (d *Driver) skip(head uint16) {
	if d.packed != nil {
		d.packed.skip(head)
	} else {
		d.usedIdx++
	}
}

// SkipUsed takes all new entries of the used ring and returns their number. In a split ring without
// IN_ORDER it does not look at the entries.
func (d *Driver) SkipUsed() int {
	if d.packed != nil || d.order != nil {
		n := 0
		for {
			if _, _, ok := d.PollUsed(); !ok {
				return n
			}
			n++
		}
	}
	_, idx := d.ring.loadUsed()
	n := idx - d.usedIdx
	d.usedIdx = idx
	return int(n)
}

// Release frees the descriptors and the indirect table of a chain. Its buffers stay the caller's.
// Release panics when head is not the head of a chain: then either the test or the device that
// returned it is wrong.
func (d *Driver) Release(head uint16) {
	if int(head) >= len(d.count) || d.count[head] == 0 {
		panic(fmt.Sprintf("virtqueuetest: descriptor %d is not the head of a chain", head))
	}
	if d.packed != nil {
		d.packed.chains[head] = nil
		d.packed.ids = append(d.packed.ids, head)
	} else {
		d.freeChain(head)
	}
	d.nfree += int(d.count[head])
	d.count[head] = 0
	if t, ok := d.table[head]; ok {
		d.FreeBuf(t)
		delete(d.table, head)
	}
}

// freeChain puts a chain's descriptors into the free list: at its beginning, because they are
// in the caches, or with IN_ORDER at its end, because descriptors then have to be used in the
// order of the table.
func (d *Driver) freeChain(head uint16) {
	switch {
	case d.order == nil || d.nfree == 0:
		d.next[d.last[head]] = d.free
		d.free = head
	default:
		end := d.free
		for range d.nfree - 1 {
			end = d.next[end]
		}
		d.next[end] = head
	}
}

// Abandon forgets every chain and sets both indices to base, as a driver that resets its
// device does. (In a packed ring base is a place, with the wrap counter in bit 15.)
// Buffers stay allocated.
func (d *Driver) Abandon(base uint16) {
	for _, t := range d.table {
		d.FreeBuf(t)
	}
	clear(d.table)
	clear(d.count)
	for i := range d.next {
		d.next[i] = uint16(i+1) & d.mask
	}
	d.free, d.nfree = 0, d.cfg.Size
	d.cfg.Base = uint32(base)
	d.availIdx, d.published, d.usedIdx = base, base, base
	d.availFlags = 0
	if d.order != nil {
		d.order.n, d.order.current = 0, false
	}
	if d.packed != nil {
		d.cfg.Base |= uint32(base) << 16
		d.packed.reset(base)
		return
	}
	d.ring.storeUsed(0, base)
	d.ring.storeUsedEvent(base)
	d.ring.storeAvail(0, base)
}

// Regions returns a copy of the table of regions, to derive other tables from.
func (d *Driver) Regions() []virtqueue.Region { return slices.Clone(d.mem.Regions()) }
