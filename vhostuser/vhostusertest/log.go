package vhostusertest

import (
	"fmt"

	"vswitchd/vhostuser"
)

// pageSize is the number of bytes that one bit of a log covers ("VHOST_LOG_PAGE 0x1000").
const pageSize = 0x1000

// Log is a log of dirty pages that the back-end writes: a memfd, which is mapped here, too. The
// caller has to close it.
type Log struct {
	mem *Memory
}

// NewLog makes a log for guest memory below an address.
func NewLog(below uint64) (*Log, error) {
	return NewLogAt(below, 0)
}

// NewLogAt is NewLog for a log that begins at an offset in its file.
func NewLogAt(below, offset uint64) (*Log, error) {
	bits := (below + pageSize - 1) / pageSize
	m, err := newMemory(vhostuser.MemRegion{Size: (bits + 63) / 64 * 8, MmapOffset: offset}, 0, 0)
	if err != nil {
		return nil, err
	}
	return &Log{m}, nil
}

// Close closes the log's file. The back-end may still have it mapped.
func (l *Log) Close() { l.mem.close() }

// FD returns the log's file.
func (l *Log) FD() int { return l.mem.FD }

// Base returns the description of the log for SET_LOG_BASE.
func (l *Log) Base() vhostuser.LogBase {
	return vhostuser.LogBase{Size: l.mem.Region.Size, Offset: l.mem.Region.MmapOffset}
}

// Truncate changes the size of the log's file.
func (l *Log) Truncate(size int64) error { return l.mem.Truncate(size) }

// Dirty returns the guest addresses of the pages that are marked, in order. No pages may be
// marked concurrently.
func (l *Log) Dirty() []uint64 {
	var pages []uint64
	for i, b := range l.mem.Bytes {
		if b == 0 {
			continue
		}
		for bit := range 8 {
			if b&(1<<bit) != 0 {
				pages = append(pages, uint64(8*i+bit)*pageSize)
			}
		}
	}
	return pages
}

// Clear clears all marks.
func (l *Log) Clear() { clear(l.mem.Bytes) }

// SetLogBase sends SET_LOG_BASE and waits for the reply.
func (f *FrontEnd) SetLogBase(l *Log) error {
	if err := f.Send(vhostuser.SetLogBase, 0, l.Base().AppendTo(nil), l.FD()); err != nil {
		return err
	}
	m, err := f.Recv()
	if err != nil {
		return fmt.Errorf("waiting for the reply to SET_LOG_BASE: %w", err)
	}
	defer m.Close()
	// QEMU accepts any payload.
	if m.Request != vhostuser.SetLogBase || m.Flags != vhostuser.FlagVersion|vhostuser.FlagReply {
		return fmt.Errorf("reply to SET_LOG_BASE is %v with flags %#x", m.Request, m.Flags)
	}
	return nil
}

// LogAll switches logging of all writes on or off, by SET_FEATURES.
func (f *FrontEnd) LogAll(on bool) error {
	features := f.Features &^ (1 << vhostuser.FeatureLogAll)
	if on {
		features |= 1 << vhostuser.FeatureLogAll
	}
	return f.Do(vhostuser.SetFeatures, vhostuser.AppendU64(nil, features))
}

// LogRing switches logging of writes to a ring's used ring on or off, by SET_VRING_ADDR. StartRing
// keeps the setting.
func (f *FrontEnd) LogRing(r *Ring, on bool) error {
	r.logged = on
	return f.Do(vhostuser.SetVringAddr, f.ringAddr(r).AppendTo(nil))
}

// ringAddr returns the payload of SET_VRING_ADDR for a ring.
func (f *FrontEnd) ringAddr(r *Ring) vhostuser.VringAddr {
	a := RingAddr(r.Index, r.Driver.Config())
	if r.logged {
		a.Flags |= vhostuser.VringFlagLog
		a.Log = f.GuestAddr(a.Used)
	}
	return a
}

// GuestAddr returns the guest address for a user address, or 0.
func (f *FrontEnd) GuestAddr(user uint64) uint64 {
	for _, m := range f.Memory {
		if off := user - m.Region.UserAddr; off < m.Region.Size {
			return m.Region.GuestAddr + off
		}
	}
	return 0
}
