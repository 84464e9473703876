package virtqueuetest

import "encoding/binary"

// Flags of a descriptor (virtio 1.2, section 2.7.5).
const (
	FlagNext     = 1
	FlagWrite    = 2
	FlagIndirect = 4
)

// A Desc is a descriptor, in the queue's table or an indirect one.
type Desc struct {
	Addr  uint64
	Len   uint32
	Flags uint16
	Next  uint16
}

// Append appends the 16 bytes of the descriptor's format in memory.
func (d Desc) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, d.Addr)
	b = binary.LittleEndian.AppendUint32(b, d.Len)
	b = binary.LittleEndian.AppendUint16(b, d.Flags)
	return binary.LittleEndian.AppendUint16(b, d.Next)
}

// The rest of this file reads and writes shared memory directly, without regard for the rules or
// for the driver's own state.

// SetDesc writes descriptor i of the table, with one store for each half.
func (d *Driver) SetDesc(i uint16, desc Desc) { d.ring.storeDesc(i, desc) }

// Desc reads descriptor i of the table.
func (d *Driver) Desc(i uint16) Desc { return d.ring.loadDesc(i) }

// SetAvail writes the available ring's flags and index.
func (d *Driver) SetAvail(flags, idx uint16) { d.ring.storeAvail(flags, idx) }

// SetAvailIdx writes the available ring's index, and the flags that the driver last set.
func (d *Driver) SetAvailIdx(idx uint16) { d.ring.storeAvail(d.availFlags, idx) }

// SetAvailEntry writes entry i (below Size) of the available ring.
func (d *Driver) SetAvailEntry(i, head uint16) { d.ring.storeAvailEntry(i, head) }

// SetUsedEvent writes used_event: "signal me when you use the entry with this index".
func (d *Driver) SetUsedEvent(idx uint16) { d.ring.storeUsedEvent(idx) }

// SetUsed writes the used ring's flags and index, which are the device's.
func (d *Driver) SetUsed(flags, idx uint16) { d.ring.storeUsed(flags, idx) }

// Avail reads the available ring's flags and index.
func (d *Driver) Avail() (flags, idx uint16) { return d.ring.loadAvail() }

// Used reads the used ring's flags and index.
func (d *Driver) Used() (flags, idx uint16) { return d.ring.loadUsed() }

// UsedEntry reads entry i (below Size) of the used ring: a chain's head, in 32 bits, and the number
// of bytes written.
func (d *Driver) UsedEntry(i uint16) (id, n uint32) {
	e := d.ring.used[i]
	return e[0], e[1]
}

// SetUsedEntry writes entry i (below Size) of the used ring, which is the device's.
func (d *Driver) SetUsedEntry(i uint16, id, n uint32) { d.ring.used[i] = [2]uint32{id, n} }

// AvailEvent reads avail_event: "kick me when you make the entry with this index available".
func (d *Driver) AvailEvent() uint16 { return d.ring.loadAvailEvent() }

// SetAvailEvent writes avail_event, which is the device's.
func (d *Driver) SetAvailEvent(idx uint16) { d.ring.storeAvailEvent(idx) }

// UsedEvent reads used_event.
func (d *Driver) UsedEvent() uint16 { return d.ring.loadUsedEvent() }
