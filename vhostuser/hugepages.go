package vhostuser

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Huge pages that are absent.
//
// The first access to a huge page that was never touched, or that was released (by a balloon, or by
// a front-end that punches a hole), makes the kernel clear the whole page: 0.1 ms and more for 2
// MiB. The thread that makes the access does nothing else meanwhile, and cannot be stopped for the
// garbage collector, which then waits with all other threads. A driver chooses how many absent
// pages a batch of its frames touches. So the data plane must not be the one that provides pages.
//
// With Options.WatchHugePages, mappings of huge pages are registered with userfaultfd(2), so that
// an access to an absent page is a fault, like an access beyond the end of the file. The code that
// handles the fault asks Session.Absent whether it is of this kind and abandons its work with the
// page, and a goroutine of the mapping provides the page.
//
// Another goroutine provides pages before they are needed, but only those that the kernel has
// reserved for the file. No other process can use these, whereas taking pages that are not reserved
// could keep another guest from starting.

// A pageProvider provides the absent pages of one mapping.
type pageProvider struct {
	fault *userfault
	mem   []byte
	page  uint64      // size in bytes
	zeros []byte      // one page, which takes no memory
	asked chan uint64 // indices of requested pages
	fail  func(error)

	quit chan struct{}
	done sync.WaitGroup
}

// maxAsked is the number of requests that may be pending. Requests beyond that are dropped; the
// next access to the page repeats them.
const maxAsked = 16

// ErrNoHugePage is the reason for the end of a session whose guest uses a huge page that
// cannot be provided.
var ErrNoHugePage = errors.New("a huge page of guest memory cannot be provided")

// provide starts to provide the pages of m, which is registered with u. fail is called when a page
// that was requested cannot be provided.
func (m *mapping) provide(u *userfault, fail func(error)) error {
	zeros, err := unix.Mmap(-1, 0, int(m.pageSize), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("mapping a page of zeros: %w", err)
	}
	p := &pageProvider{
		fault: u, mem: m.all, page: m.pageSize, zeros: zeros, fail: fail,
		asked: make(chan uint64, maxAsked),
		quit:  make(chan struct{}),
	}
	p.done.Go(p.serve)
	p.done.Go(p.ahead)
	m.provider = p
	return nil
}

// close stops providing pages. When it returns, no page is being provided.
func (p *pageProvider) close() {
	close(p.quit)
	p.done.Wait()
	_ = unix.Munmap(p.zeros)
}

// ask requests the page that contains addr, and reports whether the mapping has such a page.
func (p *pageProvider) ask(addr uintptr) bool {
	off := uint64(addr - address(p.mem))
	if off >= uint64(len(p.mem)) {
		return false
	}
	select {
	case p.asked <- off / p.page:
	default:
	}
	return true
}

// serve provides the pages that are requested.
func (p *pageProvider) serve() {
	for {
		select {
		case <-p.quit:
			return
		case i := <-p.asked:
			if err := p.one(i); err != nil {
				p.fail(fmt.Errorf("%w: %w", ErrNoHugePage, err))
				return
			}
		}
	}
}

// one provides the page with index i, unless it is present already.
func (p *pageProvider) one(i uint64) error {
	page := p.mem[i*p.page : (i+1)*p.page]
	for range 10 {
		switch err := p.fault.provide(page, p.zeros); {
		case errors.Is(err, unix.EAGAIN): // interrupted
		case errors.Is(err, unix.EEXIST):
			// The kernel also returns this error when it has no page left.
			if present(page) {
				return nil
			}
		default:
			return err
		}
	}
	return fmt.Errorf("none is free: %w", unix.ENOMEM)
}

// present reports whether a page can be read.
func present(page []byte) (is bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { is = recover() == nil }()
	_ = atomic.LoadUint32(firstWord(page))
	return true
}

// within provides the pages that contain bytes from off to end, and waits for them.
func (p *pageProvider) within(off, end uint64) error {
	for i := off / p.page; i*p.page < min(end, uint64(len(p.mem))); i++ {
		if err := p.one(i); err != nil {
			return err
		}
	}
	return nil
}

// ahead provides pages in order, as long as reserved ones are left.
func (p *pageProvider) ahead() {
	reserved, err := openReserved(p.page)
	if err != nil {
		return
	}
	defer reserved.Close()
	// Guests and workers take precedence. The thread ends with the goroutine.
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
	for i := range uint64(len(p.mem)) / p.page {
		select {
		case <-p.quit:
			return
		default:
		}
		before, err := readReserved(reserved)
		if err != nil || before == 0 {
			return
		}
		switch err := p.fault.provide(p.mem[i*p.page:(i+1)*p.page], p.zeros); {
		case errors.Is(err, unix.EEXIST):
			continue
		case err != nil:
			return // the next access to the page finds out why
		}
		if after, err := readReserved(reserved); err != nil || after >= before {
			return // the page was not a reserved one
		}
	}
}

// openReserved opens the file that contains the number of huge pages of a size, in bytes, that are
// reserved and not in use yet.
func openReserved(size uint64) (*os.File, error) {
	return os.Open(fmt.Sprintf("/sys/kernel/mm/hugepages/hugepages-%dkB/resv_hugepages", size>>10))
}

func readReserved(f *os.File) (int, error) {
	var buf [32]byte
	n, err := f.ReadAt(buf[:], 0)
	if n == 0 {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(buf[:n])))
}
