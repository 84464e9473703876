package vhostusertest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/virtqueue"
)

// Addresses of the first Memory of a front-end. The two differ, so that a mix-up of the two kinds
// is noticed; further pieces follow with a gap.
const (
	FirstGuestAddr = 0x1_0000_0000
	FirstUserAddr  = 0x7000_0000_0000
	addrStep       = 1 << 36
)

// Memory is a piece of guest memory: a memfd, which is mapped here, too.
type Memory struct {
	Region vhostuser.MemRegion
	FD     int
	Bytes  []byte

	next uint64 // offset of the first byte that NewRing has not used
}

// NewMemory makes a piece of memory of size bytes and adds it to the front-end's. ShareMemory or
// AddMemory share it with the back-end.
func (f *FrontEnd) NewMemory(size int) (*Memory, error) { return f.addMemory(size, 0, 0) }

// addMemory is NewMemory with flags for memfd_create and mmap.
func (f *FrontEnd) addMemory(size, fileFlags, mapFlags int) (*Memory, error) {
	n := uint64(len(f.Memory))
	m, err := newMemory(vhostuser.MemRegion{
		GuestAddr: FirstGuestAddr + n*addrStep,
		UserAddr:  FirstUserAddr + n*addrStep,
		Size:      uint64(size),
	}, fileFlags, mapFlags)
	if err != nil {
		return nil, err
	}
	f.Memory = append(f.Memory, m)
	return m, nil
}

func newMemory(r vhostuser.MemRegion, fileFlags, mapFlags int) (*Memory, error) {
	fd, err := unix.MemfdCreate("guest memory", unix.MFD_CLOEXEC|fileFlags)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	m := &Memory{Region: r, FD: fd}
	if err := unix.Ftruncate(fd, int64(r.MmapOffset+r.Size)); err != nil {
		m.close()
		return nil, fmt.Errorf("ftruncate: %w", err)
	}
	m.Bytes, err = unix.Mmap(fd, int64(r.MmapOffset), int(r.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|mapFlags)
	if err != nil {
		m.close()
		return nil, fmt.Errorf("mmap: %w", err)
	}
	return m, nil
}

func (m *Memory) close() {
	if m.Bytes != nil {
		_ = unix.Munmap(m.Bytes)
	}
	_ = unix.Close(m.FD)
}

// Truncate changes the size of the memory's file while it is in use: the next access beyond the new
// size, here or in the back-end, raises SIGBUS.
func (m *Memory) Truncate(size int64) error { return unix.Ftruncate(m.FD, size) }

// table returns all memory of the front-end, for use on this side.
func (f *FrontEnd) table() []virtqueue.Region {
	var t []virtqueue.Region
	for _, m := range f.Memory {
		t = append(t, virtqueue.Region{GuestAddr: m.Region.GuestAddr, UserAddr: m.Region.UserAddr, Mem: m.Bytes})
	}
	return t
}

// ShareMemory shares all memory of the front-end with the back-end, by ADD_MEM_REG if that was
// negotiated and by SET_MEM_TABLE otherwise.
func (f *FrontEnd) ShareMemory() error {
	if !f.Has(vhostuser.ProtocolFeatureConfigureMemSlots) {
		return f.SetMemTable(f.Memory...)
	}
	for _, m := range f.Memory {
		if err := f.AddMemory(m); err != nil {
			return err
		}
	}
	return nil
}

// SetMemTable sends SET_MEM_TABLE.
func (f *FrontEnd) SetMemTable(mem ...*Memory) error {
	var (
		table []vhostuser.MemRegion
		fds   []int
	)
	for _, m := range mem {
		table = append(table, m.Region)
		fds = append(fds, m.FD)
	}
	return f.Do(vhostuser.SetMemTable, vhostuser.AppendMemTable(nil, table), fds...)
}

// AddMemory sends ADD_MEM_REG.
func (f *FrontEnd) AddMemory(m *Memory) error {
	return f.Do(vhostuser.AddMemReg, vhostuser.AppendSingleRegion(nil, m.Region), m.FD)
}

// RemoveMemory sends REM_MEM_REG.
func (f *FrontEnd) RemoveMemory(m *Memory) error {
	return f.Do(vhostuser.RemMemReg, vhostuser.AppendSingleRegion(nil, m.Region))
}
