package virtqueue

import (
	"cmp"
	"slices"
	"unsafe"
)

// Contains reports whether addr, an address in this process, lies in mem. It only compares
// addresses and reads nothing through them.
func Contains(mem []byte, addr uintptr) bool {
	return addr-uintptr(unsafe.Pointer(unsafe.SliceData(mem))) < uintptr(len(mem))
}

// Contains reports whether addr, an address in this process, lies in one of the mappings, which
// attributes a fault to a guest's memory.
func (m *Memory) Contains(addr uintptr) bool {
	for i := range m.regions {
		if Contains(m.regions[i].Mem, addr) {
			return true
		}
	}
	return false
}

// byMapping returns regions sorted by the addresses of their mappings. It only compares addresses.
func byMapping(regions []Region) []Region {
	at := func(r Region) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(r.Mem))) }
	return slices.SortedFunc(slices.Values(regions), func(a, b Region) int { return cmp.Compare(at(a), at(b)) })
}

// regionOf returns the region that contains piece, which is not empty, and the offset of piece in
// the region. The number of steps is logarithmic in the number of regions: a driver can put each
// piece into another region than the last one.
func (m *Memory) regionOf(piece []byte) (r *Region, off uint64, ok bool) {
	lo, hi := 0, len(m.mapped)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if off, ok = m.mapped[mid].offset(piece); ok {
			return &m.mapped[mid], off, true
		}
		if off>>63 == 0 { // the region is mapped below the piece
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return nil, 0, false
}

// offset returns the offset of piece, which is not empty, in the region. A piece lies in a region
// as a whole or not at all.
func (r *Region) offset(piece []byte) (off uint64, ok bool) {
	p := uintptr(unsafe.Pointer(unsafe.SliceData(piece)))
	return uint64(p - uintptr(unsafe.Pointer(unsafe.SliceData(r.Mem)))), Contains(r.Mem, p)
}

// slice returns mem[off : off+n]. The caller has checked that these bytes lie within mem; having
// the language check that again would make popping chains, where this accounts for most of the
// time, a tenth slower.
func slice(mem []byte, off uint64, n uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(mem)), off)), n)
}
