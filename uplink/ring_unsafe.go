package uplink

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file holds the accesses to the receive ring that have to be ordered with those of the
// kernel. Everything else in a slot is read through bounds-checked slices, between loadStatus and
// storeStatus.

// loadStatus reads the tp_status of the slot that starts at mem[off] with acquire semantics: what
// the kernel wrote into the slot before it set TP_STATUS_USER is visible after it.
//
// In bounds: the slice expression checks that mem has a tpacket2_hdr at off, and tp_status is its
// first field. Aligned: off is a multiple of the slot size, which openRing makes a multiple of 16,
// in a page-aligned mapping.
func loadStatus(mem []byte, off int) uint32 {
	h := mem[off : off+unix.SizeofTpacket2Hdr]
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(unsafe.SliceData(h))))
}

// storeStatus sets the tp_status of the slot that starts at mem[off] with release semantics: this
// process's reads of the slot are over before the kernel may write to it again. In bounds and
// aligned as in loadStatus.
func storeStatus(mem []byte, off int, status uint32) {
	h := mem[off : off+unix.SizeofTpacket2Hdr]
	atomic.StoreUint32((*uint32)(unsafe.Pointer(unsafe.SliceData(h))), status)
}
