package virtqueuetest

import (
	"fmt"

	"vswitchd/virtqueue"
)

// packedDriver is the part of a Driver that is specific to packed rings (virtio 1.2, section
// 2.8). Chains are built in private memory; each time one is offered, it is written to the next
// places of the ring.
type packedDriver struct {
	ring   packedRing
	chains [][]PackedDesc // by buffer ID, without availability flags; nil: the ID is free
	ids    []uint16       // stack of free IDs
	next   place          // where the next descriptor is made available
	used   place          // where the next used descriptor is looked for

	offered int        // places written since Publish
	hidden  PackedDesc // the first of them, which Publish writes
	event   uint32     // driver event suppression, as last written
}

// A place is an index in the ring, and the wrap counter there.
type place struct {
	idx  int
	wrap bool
}

func placeOf(base uint16) place { return place{int(base &^ (1 << 15)), base>>15 != 0} }

// base returns the place in the format of Config.Base and the event suppression structures.
func (p place) base() uint16 {
	if p.wrap {
		return uint16(p.idx) | 1<<15
	}
	return uint16(p.idx)
}

func (p place) add(n, size int) place {
	if p.idx += n; p.idx >= size {
		p.idx -= size
		p.wrap = !p.wrap
	}
	return p
}

// ahead returns by how many places, less than two laps, p is ahead of q.
func (p place) ahead(q place, size int) int {
	n := p.idx - q.idx
	if p.wrap != q.wrap {
		n += size
	}
	return (n + 2*size) % (2 * size)
}

// Avail returns the flags of an available descriptor on the lap with the given wrap counter.
func Avail(wrap bool) uint16 {
	if wrap {
		return FlagAvail
	}
	return FlagUsed
}

// Used returns the flags of a used descriptor on the lap with the given wrap counter.
func Used(wrap bool) uint16 {
	if wrap {
		return FlagAvail | FlagUsed
	}
	return 0
}

func newPackedDriver(regions []virtqueue.Region, cfg virtqueue.Config) (*packedDriver, error) {
	ring, err := newPackedRing(regions, cfg)
	if err != nil {
		return nil, err
	}
	p := &packedDriver{ring: ring, chains: make([][]PackedDesc, cfg.Size)}
	p.reset(uint16(cfg.Base))
	return p, nil
}

// reset empties the ring and begins at base.
func (p *packedDriver) reset(base uint16) {
	clear(p.chains)
	p.ids = p.ids[:0]
	for i := len(p.chains) - 1; i >= 0; i-- {
		p.ids = append(p.ids, uint16(i))
	}
	p.next = placeOf(base)
	p.used = p.next
	p.offered, p.event = 0, EventEnable
	for i := range p.chains {
		// Places from base on were used on the previous lap, those before base on this one.
		p.ring.store(i, PackedDesc{Flags: Used(p.next.wrap == (i < p.next.idx))})
	}
	p.ring.storeDriverEvent(p.event)
	p.ring.storeDeviceEvent(EventEnable)
}

// build stores a chain under a free ID.
func (p *packedDriver) build(descs []PackedDesc) (id uint16) {
	id = p.ids[len(p.ids)-1]
	p.ids = p.ids[:len(p.ids)-1]
	for i := range descs {
		if i < len(descs)-1 {
			descs[i].Flags |= FlagNext
		}
	}
	// "Buffer ID is included in the last descriptor in the list" (2.8.6): the IDs of the other
	// descriptors must not matter.
	for i := range descs {
		descs[i].ID = ^id
	}
	descs[len(descs)-1].ID = id
	p.chains[id] = descs
	return id
}

// offer writes a chain to the ring. Publish writes the first descriptor of all; until then the
// device sees none of them.
func (p *packedDriver) offer(id uint16) {
	for _, d := range p.chains[id] {
		d.Flags |= Avail(p.next.wrap)
		if p.offered == 0 {
			p.hidden = d
		} else {
			p.ring.store(p.next.idx, d)
		}
		p.offered++
		p.next = p.next.add(1, len(p.chains))
	}
}

// publish makes the offered chains visible to the device and reports whether the device asks to be
// kicked for them.
func (p *packedDriver) publish() (kick bool) {
	n := p.offered
	if n == 0 {
		return false
	}
	p.offered = 0
	first := placeOf(p.next.base())
	if first.idx -= n; first.idx < 0 {
		first.idx += len(p.chains)
		first.wrap = !first.wrap
	}
	p.ring.store(first.idx, p.hidden)
	fence(p.ring.deviceEvent)
	event := p.ring.loadDeviceEvent()
	switch event >> 16 & 3 {
	case EventDisable >> 16:
		return false
	case EventDesc >> 16:
		return placeOf(uint16(event)).ahead(first, len(p.chains)) < n
	}
	return true
}

// element returns the contents of the next used descriptor, if there is one.
func (p *packedDriver) element() (id uint16, n uint32, ok bool) {
	d := p.ring.loadUsed(p.used.idx)
	if d.Flags&(FlagAvail|FlagUsed) != Used(p.used.wrap) {
		return 0, 0, false
	}
	if int(d.ID) >= len(p.chains) || p.chains[d.ID] == nil {
		panic(fmt.Sprintf("virtqueuetest: used descriptor %d has ID %d, which is not a chain's", p.used.idx, d.ID))
	}
	if d.Flags&FlagWrite == 0 {
		// "Element Length is reserved for used descriptors without the
		// VIRTQ_DESC_F_WRITE flag"
		d.Len = 0
	}
	return d.ID, d.Len, true
}

func (p *packedDriver) skip(id uint16) { p.used = p.used.add(len(p.chains[id]), len(p.chains)) }

func (p *packedDriver) arm(eventIdx bool) (pending bool) {
	p.event = EventEnable
	if eventIdx {
		p.event = EventDesc | uint32(p.used.base())
	}
	p.ring.storeDriverEvent(p.event)
	_, _, pending = p.element()
	return pending
}

func (p *packedDriver) disarm() {
	p.event = EventDisable
	p.ring.storeDriverEvent(p.event)
}
