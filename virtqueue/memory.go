package virtqueue

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// MaxRegions is the largest number of regions in a Memory. The protocol that shares memory with us
// cannot name more.
const MaxRegions = 509

// ErrMemory is wrapped by every error of NewMemory.
var ErrMemory = errors.New("bad memory table")

// ErrAddress says that an address, or a range that starts there, is not in any region.
var ErrAddress = errors.New("address outside guest memory")

// A Region is one piece of guest memory that is mapped here.
type Region struct {
	GuestAddr uint64 // guest-physical address of the first byte, as in descriptors
	UserAddr  uint64 // the front-end's virtual address of it, as in vhost-user's ring addresses
	Mem       []byte // the mapping; its length is the region's
}

// A Memory is an immutable table of regions. A change of guest memory makes a new table.
// The mappings belong to whoever made the table, and must stay mapped until no Queue uses
// the table any more.
type Memory struct {
	regions []Region // sorted by GuestAddr, without overlaps
	mapped  []Region // the same, sorted by the address of Mem
}

// NewMemory returns the table of the given regions, in any order. It refuses regions that are
// empty, that wrap around the address space or that overlap in guest-physical addresses. (Overlaps
// of UserAddr harm only the front-end that made them.)
func NewMemory(regions []Region) (*Memory, error) {
	if len(regions) > MaxRegions {
		return nil, fmt.Errorf("%w: %d regions, at most %d", ErrMemory, len(regions), MaxRegions)
	}
	m := &Memory{regions: slices.Clone(regions)}
	slices.SortFunc(m.regions, func(a, b Region) int { return cmp.Compare(a.GuestAddr, b.GuestAddr) })
	for i, r := range m.regions {
		size := uint64(len(r.Mem))
		if size == 0 || r.GuestAddr+size-1 < r.GuestAddr || r.UserAddr+size-1 < r.UserAddr {
			return nil, fmt.Errorf("%w: region at %#x (user %#x) with %d bytes", ErrMemory, r.GuestAddr, r.UserAddr, size)
		}
		if i > 0 {
			if p := m.regions[i-1]; r.GuestAddr-p.GuestAddr < uint64(len(p.Mem)) {
				return nil, fmt.Errorf("%w: regions at %#x and %#x overlap", ErrMemory, p.GuestAddr, r.GuestAddr)
			}
		}
	}
	m.mapped = byMapping(m.regions)
	return m, nil
}

// Regions returns the table, sorted by guest-physical address. The caller must not change it.
func (m *Memory) Regions() []Region { return m.regions }

// find returns the region that contains addr, or nil.
func (m *Memory) find(addr uint64) *Region {
	lo, hi := 0, len(m.regions)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if r := &m.regions[mid]; addr < r.GuestAddr {
			hi = mid
		} else if addr-r.GuestAddr >= uint64(len(r.Mem)) {
			lo = mid + 1
		} else {
			return r
		}
	}
	return nil
}

// appendRange appends to segs the n bytes from guest-physical address addr, in as many pieces as
// there are regions: a range that is contiguous for the guest need not be contiguous here. On an
// error segs is returned unchanged.
func (m *Memory) appendRange(segs [][]byte, addr, n uint64) ([][]byte, error) {
	had := len(segs)
	for n > 0 {
		r := m.find(addr)
		if r == nil {
			return segs[:had], ErrAddress
		}
		off := addr - r.GuestAddr
		k := min(n, uint64(len(r.Mem))-off)
		segs = append(segs, r.Mem[off:off+k:off+k])
		if n -= k; n > 0 && addr+k < addr {
			return segs[:had], ErrAddress
		}
		addr += k
	}
	return segs, nil
}

// user returns the n bytes at the front-end's virtual address addr, which must lie in one region.
func (m *Memory) user(addr, n uint64) ([]byte, error) {
	for i := range m.regions {
		r := &m.regions[i]
		off := addr - r.UserAddr
		if size := uint64(len(r.Mem)); off < size && n <= size-off {
			return r.Mem[off : off+n : off+n], nil
		}
	}
	return nil, ErrAddress
}

// guestAddr returns the guest-physical address of the front-end's virtual address addr.
func (m *Memory) guestAddr(addr uint64) (uint64, bool) {
	for i := range m.regions {
		r := &m.regions[i]
		if off := addr - r.UserAddr; off < uint64(len(r.Mem)) {
			return r.GuestAddr + off, true
		}
	}
	return 0, false
}
