package virtqueue

import (
	"errors"
	"fmt"
)

// logPageSize is the amount of memory in bytes that one bit of a dirty log covers, whatever the
// guest's page size ("The log page size is 4K", docs/interop/vhost-user.rst).
const logPageSize = 4096

// ErrLog is wrapped by every error of NewDirtyLog.
var ErrLog = errors.New("bad dirty log")

// A DirtyLog is the bitmap of written pages that the front-end of a migrating guest reads: bit
// p%8 of byte p/8 is page p of guest-physical memory. It is shared with the front-end, which
// clears bits while they are set here, and with other queues. All methods may be called at any
// time from any goroutine.
//
// Like guest memory, the log can vanish; see [DirtyLog.Contains].
type DirtyLog struct {
	mem   []byte
	words []uint32 // mem as words
}

// NewDirtyLog returns the log in mem, which is usually a mapping and must stay mapped until no
// Queue uses the log any more. Bits are set 32 at a time, so mem must be aligned to 4 bytes and its
// length a multiple of 4, as that of whole pages is.
//
// Writes beyond the end of the log are not logged: the caller has to check that the log covers
// guest memory ([DirtyLog.Covers]).
func NewDirtyLog(mem []byte) (*DirtyLog, error) {
	words, ok := wordsOf(mem)
	if !ok {
		return nil, fmt.Errorf("%w: %d bytes, want whole and aligned words of 32 bits", ErrLog, len(mem))
	}
	return &DirtyLog{mem, words}, nil
}

// Covers reports whether the log has a bit for each byte of m.
func (l *DirtyLog) Covers(m *Memory) bool {
	if len(m.regions) == 0 {
		return true
	}
	last := m.regions[len(m.regions)-1]
	return (last.GuestAddr+uint64(len(last.Mem))-1)/logPageSize < uint64(len(l.words))*32
}

// Mark records that the n bytes from guest-physical address gpa have been written. It must be
// called after the write: the page may be copied as soon as it is marked, and not again. Pages
// beyond the end of the log are ignored.
func (l *DirtyLog) Mark(gpa, n uint64) {
	if n == 0 {
		return
	}
	last := gpa + n - 1
	if last < gpa {
		last = ^uint64(0)
	}
	last /= logPageSize
	for page := gpa / logPageSize; page <= last && page/32 < uint64(len(l.words)); page++ {
		l.set(page)
	}
}

// Contains reports whether addr, an address in this process, is in the log's memory, which
// attributes a fault to the log.
func (l *DirtyLog) Contains(addr uintptr) bool { return Contains(l.mem, addr) }
