package vhostuser

import "unsafe"

// address returns the address of mem's first byte in this process. The number is for
// comparison only.
func address(mem []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(mem))) }
