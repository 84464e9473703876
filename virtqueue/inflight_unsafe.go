package virtqueue

import "unsafe"

// words64Of returns mem as 64-bit words, without the bytes after the last whole word. It fails when
// mem is not aligned.
func words64Of(mem []byte) (words []uint64, ok bool) {
	p := unsafe.Pointer(unsafe.SliceData(mem))
	return unsafe.Slice((*uint64)(p), len(mem)/8), uintptr(p)%8 == 0
}
