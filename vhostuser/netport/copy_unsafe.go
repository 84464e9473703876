package netport

import "unsafe"

// copyHead copies src, a frame's first bytes, to dst, which is at least as long. Short
// frames, most of all, are moved in two large pieces that overlap where the length is
// not theirs: half of the instructions of the runtime's memmove, which has to find out
// first how much there is to do. (Of a source that changes meanwhile some bytes may
// be read twice. Only those that arrive are ever looked at.)
//
// Every piece lies within the first len(src) bytes of dst and src: the first begins where
// they begin, the second ends where these end, and none is longer than that.
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

// Structures, because of arrays that might overlap a copy is made by a call of memmove.
type (
	piece64 struct{ b [64]byte }
	piece32 struct{ b [32]byte }
)
