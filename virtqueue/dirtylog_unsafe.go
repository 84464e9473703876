package virtqueue

import (
	"sync/atomic"
	"unsafe"
)

// wordsOf returns mem as a slice of words that covers exactly the same bytes. It fails when mem
// does not consist of whole, aligned words.
func wordsOf(mem []byte) (words []uint32, ok bool) {
	p := unsafe.Pointer(unsafe.SliceData(mem))
	if len(mem)%4 != 0 || uintptr(p)%4 != 0 {
		return nil, false
	}
	return unsafe.Slice((*uint32)(p), len(mem)/4), true
}

// set sets the bit of a page that the log covers. In a little-endian word bit p%32 is bit
// p%8 of byte p/8.
//
// The bit is set even if it is set already: without the locked instruction, the guest-memory
// write that the bit stands for could become visible after the front-end has cleared the bit and
// copied the page.
func (l *DirtyLog) set(page uint64) {
	atomic.OrUint32(&l.words[page/32], 1<<(page%32))
}
