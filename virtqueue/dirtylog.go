package virtqueue

import (
	"errors"
	"fmt"
)

// logPageSize is how much memory one bit of a dirty log stands for, whatever the
// size of the guest's pages ("The log page size is 4K", docs/interop/vhost-user.rst).
const logPageSize = 4096

// ErrLog is wrapped by every error of NewDirtyLog.
var ErrLog = errors.New("bad dirty log")

// A DirtyLog is the bitmap in which the front-end of a guest that is being migrated
// wants to find the pages that were written to: bit p%8 of byte p/8 is page p of
// guest-physical memory. It is shared with the front-end, which clears bits while
// they are set here, and with other queues. All methods may be called at any
// time from any goroutine.
//
// Like guest memory it can vanish; see [DirtyLog.Contains].
type DirtyLog struct {
	mem   []byte
	words []uint32 // the same
}

// NewDirtyLog returns the log in mem, which is usually a mapping and must stay so until
// no Queue uses the log any more. Bits are set 32 at a time, so mem must be
// aligned to 4 bytes and its length a multiple of 4, as that of whole pages is.
//
// What is beyond the log's end is not logged: that the log covers guest memory
// is the caller's to see to ([DirtyLog.Covers]).
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

// Mark notes that the n bytes from guest-physical address gpa have been written.
// It has to come after the write: the page may be copied as soon as it is marked,
// and not again. Pages that the log does not have are ignored.
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

// Contains reports whether addr, an address in this process, is in the log's memory. It
// tells whose fault a fault was.
func (l *DirtyLog) Contains(addr uintptr) bool { return Contains(l.mem, addr) }
