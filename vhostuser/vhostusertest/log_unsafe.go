package vhostusertest

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// Take calls page with the guest address of each page that is marked, in order, after it has
// cleared the mark, as a front-end does while the back-end continues to mark pages.
func (l *Log) Take(page func(addr uint64)) {
	// The mapping begins at a page boundary, and its length is a multiple of 8.
	mem := l.mem.Bytes
	words := unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(mem))), len(mem)/4)
	for i := range words {
		if atomic.LoadUint32(&words[i]) == 0 {
			continue
		}
		for marks := atomic.SwapUint32(&words[i], 0); marks != 0; marks &= marks - 1 {
			page(uint64(32*i+bits.TrailingZeros32(marks)) * pageSize)
		}
	}
}
