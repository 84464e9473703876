package netport

import "unsafe"

// copyHead copies src, a frame's first bytes, to dst, which is at least as long. Short frames,
// above all, are copied in two large pieces, which overlap unless the length is twice theirs:
// that takes half of the instructions of the runtime's memmove, which first has to examine the
// length. (If the source changes during the copy, some bytes may be read twice. Only the copied
// bytes are ever examined.)
//
// Every piece lies within the first len(src) bytes of dst and src: the first begins where they
// begin, the second ends where these end, and neither is longer than len(src).
func copyHead(dst, src []byte) {
	n := len(src)
	to, from := unsafe.Pointer(unsafe.SliceData(dst[:n])), unsafe.Pointer(unsafe.SliceData(src))
	switch {
	case n > 64 && n <= 128:
		*(*piece64)(to) = *(*piece64)(from)
		*(*piece64)(unsafe.Add(to, n-64)) = *(*piece64)(unsafe.Add(from, n-64))
	case n >= 32 && n <= 64:
		*(*piece32)(to) = *(*piece32)(from)
		*(*piece32)(unsafe.Add(to, n-32)) = *(*piece32)(unsafe.Add(from, n-32))
	default:
		copy(dst, src)
	}
}

// Structures, because the compiler copies arrays that might overlap by a call of memmove.
type (
	piece64 struct{ b [64]byte }
	piece32 struct{ b [32]byte }
)
