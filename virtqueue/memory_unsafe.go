package virtqueue

import (
	"cmp"
	"slices"
	"unsafe"
)

// Contains reports whether addr, an address in this process, lies in mem. Only
// the number of the address is used, nothing is read through it.
func Contains(mem []byte, addr uintptr) bool {
	return addr-uintptr(unsafe.Pointer(unsafe.SliceData(mem))) < uintptr(len(mem))
}

// Contains reports whether addr, an address in this process, lies in one of
// the mappings. It tells whose memory a fault was in.
func (m *Memory) Contains(addr uintptr) bool {
	for i := range m.regions {
		if Contains(m.regions[i].Mem, addr) {
			return true
		}
	}
	return false
}

// byMapping returns regions in the order of where they are mapped. Only the numbers of the addresses
// are used.
func byMapping(regions []Region) []Region {
	at := func(r Region) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(r.Mem))) }
	return slices.SortedFunc(slices.Values(regions), func(a, b Region) int { return cmp.Compare(at(a), at(b)) })
}

// regionOf returns the region that piece, which is not empty, is in, and where in it. It takes steps as
// the logarithm of the number of regions: a driver can have the next piece be in another region each
// time.
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

// offset returns where piece, which is not empty, begins in the region. It lies
// within it or not at all.
func (r *Region) offset(piece []byte) (off uint64, ok bool) {
	p := uintptr(unsafe.Pointer(unsafe.SliceData(piece)))
	return uint64(p - uintptr(unsafe.Pointer(unsafe.SliceData(r.Mem)))), Contains(r.Mem, p)
}

// slice returns mem[off : off+n], which the caller knows to be there: n bytes from off on lie
// within mem. To have the language check that again would make popping chains, of which
// this is the better part, a tenth dearer.
func slice(mem []byte, off uint64, n uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(mem)), off)), n)
}
