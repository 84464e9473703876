package virtqueue

import "unsafe"

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
