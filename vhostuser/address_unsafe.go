package vhostuser

import "unsafe"

// address returns where in this process's address space mem begins. It is a number to look
// at.
func address(mem []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(mem))) }
