package vhostuser

import (
	"encoding/binary"
	"fmt"
)

// Sizes of payloads and their parts in bytes.
const (
	regionSize     = 32
	memTableHeader = 8

	// maxTableRegions is the number of regions that SET_MEM_TABLE can name ("region0 ...
	// region7").
	maxTableRegions = 8
)

// In the payload of SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR: "Bits (0-7) of the payload
// contain the vring index. Bit 8 is the invalid FD flag. This flag is set when there is no file
// descriptor in the ancillary data."
const (
	vringIndexMask = 0xff
	vringNoFD      = 1 << 8
)

// VringState is "a vring state description". Depending on the message, Num is a size, an index in
// the available ring, or a flag.
type VringState struct {
	Index, Num uint32
}

// VringAddr is "a vring address description". Addresses are the front-end's virtual addresses, Log
// is a guest address.
type VringAddr struct {
	Index, Flags           uint32
	Desc, Used, Avail, Log uint64
}

// MemRegion is "a memory region description".
type MemRegion struct {
	GuestAddr, Size, UserAddr, MmapOffset uint64
}

// VringFile is the payload of SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR.
type VringFile struct {
	Index uint8
	NoFD  bool
}

// LogBase is "a log description": the location of the log of dirty pages in a file.
type LogBase struct {
	Size uint64 // "size of area used for logging", in bytes

	// Offset is, in bytes, "from start of supplied file descriptor where logging starts (i.e.
	// where guest address 0 would be logged)".
	Offset uint64
}

// Inflight is "an inflight description": the location, in a file, of the memory in which a back-end
// keeps track of descriptors in flight.
type Inflight struct {
	Size      uint64 `json:"size"`   // "of area to track inflight I/O", in bytes
	Offset    uint64 `json:"offset"` // "of this area from the start of the supplied file descriptor"
	NumQueues uint16 `json:"num_queues"`
	QueueSize uint16 `json:"queue_size"`
}

// ConfigAccess is an access to the "virtio device config space".
type ConfigAccess struct {
	Offset, Size uint32 // bytes
	Flags        uint32 // ConfigWritable or ConfigMigration
	Data         []byte // Size bytes, or none in a request to read
}

// Flags of a ConfigAccess.
const (
	ConfigWritable  = 0 // "Vhost front-end messages used for writable fields"
	ConfigMigration = 1 // "Vhost front-end messages used for live migration"
)

// MaxConfigSize is the size of the largest configuration space, in bytes.
const MaxConfigSize = 256

const (
	configHeader = 12
	inflightSize = 20 // QEMU and DPDK add 4 bytes of padding
)

// DecodeU64 decodes "a single 64-bit integer" from the first 8 bytes of b.
func DecodeU64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

// AppendU64 appends "a single 64-bit integer".
func AppendU64(b []byte, v uint64) []byte { return binary.NativeEndian.AppendUint64(b, v) }

// DecodeVringState decodes "a vring state description" from the first 8 bytes of b.
func DecodeVringState(b []byte) VringState {
	return VringState{
		Index: binary.NativeEndian.Uint32(b[0:]),
		Num:   binary.NativeEndian.Uint32(b[4:]),
	}
}

// AppendTo appends the wire format to b.
func (v VringState) AppendTo(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, v.Index)
	return binary.NativeEndian.AppendUint32(b, v.Num)
}

func decodeVringAddr(b []byte) VringAddr {
	return VringAddr{
		Index: binary.NativeEndian.Uint32(b[0:]),
		Flags: binary.NativeEndian.Uint32(b[4:]),
		Desc:  binary.NativeEndian.Uint64(b[8:]),
		Used:  binary.NativeEndian.Uint64(b[16:]),
		Avail: binary.NativeEndian.Uint64(b[24:]),
		Log:   binary.NativeEndian.Uint64(b[32:]),
	}
}

// AppendTo appends the wire format to b.
func (a VringAddr) AppendTo(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, a.Index)
	b = binary.NativeEndian.AppendUint32(b, a.Flags)
	for _, v := range [...]uint64{a.Desc, a.Used, a.Avail, a.Log} {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}

func decodeMemRegion(b []byte) MemRegion {
	return MemRegion{
		GuestAddr:  binary.NativeEndian.Uint64(b[0:]),
		Size:       binary.NativeEndian.Uint64(b[8:]),
		UserAddr:   binary.NativeEndian.Uint64(b[16:]),
		MmapOffset: binary.NativeEndian.Uint64(b[24:]),
	}
}

func (r MemRegion) appendTo(b []byte) []byte {
	for _, v := range [...]uint64{r.GuestAddr, r.Size, r.UserAddr, r.MmapOffset} {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}

// decodeSingleRegion decodes "a single memory region description": 8 bytes of padding and a region.
func decodeSingleRegion(b []byte) MemRegion { return decodeMemRegion(b[8:]) }

// AppendSingleRegion appends "a single memory region description".
func AppendSingleRegion(b []byte, r MemRegion) []byte { return r.appendTo(AppendU64(b, 0)) }

// decodeMemTable decodes "a multiple memory regions description". A payload may be longer than its
// number of regions requires: according to the specification the "regions field contains 8
// regions", which leaves open whether unused ones are sent.
func decodeMemTable(b []byte) ([]MemRegion, error) {
	n := binary.NativeEndian.Uint32(b)
	if want := memTableHeader + uint64(n)*regionSize; uint64(len(b)) < want {
		return nil, fmt.Errorf("%w: %d bytes of payload for %d regions", ErrMalformed, len(b), n)
	}
	table := make([]MemRegion, n)
	for i := range table {
		table[i] = decodeMemRegion(b[memTableHeader+i*regionSize:])
	}
	return table, nil
}

// AppendMemTable appends "a multiple memory regions description".
func AppendMemTable(b []byte, table []MemRegion) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(len(table)))
	b = binary.NativeEndian.AppendUint32(b, 0)
	for _, r := range table {
		b = r.appendTo(b)
	}
	return b
}

// decodeVringFile refuses undefined bits: an index that is wider than its field must not be
// mistaken for a small one.
func decodeVringFile(b []byte) (VringFile, error) {
	v := DecodeU64(b)
	if v&^(vringIndexMask|vringNoFD) != 0 {
		return VringFile{}, fmt.Errorf("%w: unknown bits in %#x", ErrMalformed, v)
	}
	return VringFile{Index: uint8(v & vringIndexMask), NoFD: v&vringNoFD != 0}, nil
}

// AppendTo appends the wire format to b.
func (f VringFile) AppendTo(b []byte) []byte {
	v := uint64(f.Index)
	if f.NoFD {
		v |= vringNoFD
	}
	return AppendU64(b, v)
}

func decodeLogBase(b []byte) LogBase {
	return LogBase{Size: DecodeU64(b[0:]), Offset: DecodeU64(b[8:])}
}

// AppendTo appends the wire format to b.
func (l LogBase) AppendTo(b []byte) []byte { return AppendU64(AppendU64(b, l.Size), l.Offset) }

// DecodeInflight decodes "an inflight description" from the first 20 bytes of b.
func DecodeInflight(b []byte) Inflight {
	return Inflight{
		Size:      DecodeU64(b[0:]),
		Offset:    DecodeU64(b[8:]),
		NumQueues: binary.NativeEndian.Uint16(b[16:]),
		QueueSize: binary.NativeEndian.Uint16(b[18:]),
	}
}

// AppendTo appends the wire format to b, without padding at the end.
func (i Inflight) AppendTo(b []byte) []byte {
	b = AppendU64(AppendU64(b, i.Size), i.Offset)
	b = binary.NativeEndian.AppendUint16(b, i.NumQueues)
	return binary.NativeEndian.AppendUint16(b, i.QueueSize)
}

// decodeConfigAccess refuses an access whose size is not that of its payload. In a request to read,
// the data may be missing.
func decodeConfigAccess(b []byte, read bool) (ConfigAccess, error) {
	c := ConfigAccess{
		Offset: binary.NativeEndian.Uint32(b[0:]),
		Size:   binary.NativeEndian.Uint32(b[4:]),
		Flags:  binary.NativeEndian.Uint32(b[8:]),
		Data:   b[configHeader:],
	}
	if n := len(c.Data); uint64(n) != uint64(c.Size) && !(read && n == 0) {
		return ConfigAccess{}, fmt.Errorf("%w: %d bytes of a configuration space with %d bytes of data", ErrMalformed, c.Size, n)
	}
	return c, nil
}

// AppendTo appends the wire format to b.
func (c ConfigAccess) AppendTo(b []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, c.Offset)
	b = binary.NativeEndian.AppendUint32(b, c.Size)
	b = binary.NativeEndian.AppendUint32(b, c.Flags)
	return append(b, c.Data...)
}
