package virtqueue

import (
	"math/rand/v2"
	"testing"
)

// A piece is found in its region, in whatever order the regions are mapped.
func TestRegionOf(t *testing.T) {
	const n, size, gap = MaxRegions, 64, 16
	arena := make([]byte, n*(size+gap))
	regions := make([]Region, n)
	for i, at := range rand.Perm(n) {
		begin := at * (size + gap)
		regions[i] = Region{GuestAddr: uint64(i) << 20, UserAddr: uint64(i) << 20, Mem: arena[begin : begin+size]}
	}
	m, err := NewMemory(regions)
	if err != nil {
		t.Fatal(err)
	}
	for i := range regions {
		for _, at := range []int{0, 1, size - 1} {
			r, off, ok := m.regionOf(regions[i].Mem[at : at+1])
			if !ok || r.GuestAddr != regions[i].GuestAddr || off != uint64(at) {
				t.Fatalf("byte %d of region %d: %v, %d, %t", at, i, r, off, ok)
			}
		}
	}
	for i := range n {
		begin := i*(size+gap) + size
		if r, _, ok := m.regionOf(arena[begin : begin+1]); ok {
			t.Fatalf("memory that is in no region was found in the region at %#x", r.GuestAddr)
		}
	}
	if _, _, ok := m.regionOf([]byte{1}); ok {
		t.Fatal("memory outside all regions was found")
	}
	empty, err := NewMemory(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := empty.regionOf(arena[:1]); ok {
		t.Fatal("found in an empty table")
	}
}
