package virtqueue

import "unsafe"

// Contains reports whether addr, an address in this process, lies in one of
// the mappings. It tells whose memory a fault was in.
func (m *Memory) Contains(addr uintptr) bool {
	for i := range m.regions {
		mem := m.regions[i].Mem
		// Only the number of the address is used, nothing is read through it.
		base := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
		if addr-base < uintptr(len(mem)) {
			return true
		}
	}
	return false
}
