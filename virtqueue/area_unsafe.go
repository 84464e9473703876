package virtqueue

import (
	"fmt"
	"unsafe"
)

// area returns a pointer to the n bytes at the front-end's virtual address addr. All of them lie in
// one mapping. Both the virtual address and the mapped one are aligned.
func area(mem *Memory, what string, addr, n, align uint64) (unsafe.Pointer, error) {
	if addr%align != 0 {
		return nil, fmt.Errorf("%w: %s at %#x is not aligned to %d bytes", ErrSetup, what, addr, align)
	}
	b, err := mem.user(addr, n)
	if err != nil {
		return nil, fmt.Errorf("%w: %s at %#x (%d bytes): %w", ErrSetup, what, addr, n, err)
	}
	p := unsafe.Pointer(unsafe.SliceData(b))
	if uint64(uintptr(p))%align != 0 {
		return nil, fmt.Errorf("%w: %s at %#x is mapped at an address that is not aligned to %d bytes", ErrSetup, what, addr, align)
	}
	return p, nil
}
