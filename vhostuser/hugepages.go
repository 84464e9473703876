package vhostuser

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
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
// page, and a goroutine of the session provides the page.
//
// Another goroutine provides pages before they are needed, but only those that the kernel has
// reserved for the file. No other process can use these, whereas taking pages that are not reserved
// could keep another guest from starting.
//
// A session has no more than these two goroutines, however many mappings its front-end makes:
// clearing pages takes processor time from everybody.

// A pageService provides the absent huge pages of a session's mappings.
type pageService struct {
	fault *userfault
	zeros map[uint64][]byte // by the size of a page: one page, which takes no memory
	asked chan request
	fail  func(error)

	quit chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	waiting []*watchedPages // mappings whose reserved pages are to be provided, in order
	running bool            // a goroutine is doing that
}

// A request is for the page with index i.
type request struct {
	pages *watchedPages
	i     uint64
}

// watchedPages are the pages of a mapping.
type watchedPages struct {
	service *pageService
	mem     []byte
	page    uint64 // size in bytes
	zeros   []byte // one page

	mu     sync.RWMutex // held for reading while a page is provided
	closed bool
}

// maxAsked is the number of requests that may be pending. Requests beyond that are dropped; the
// next access to the page repeats them.
const maxAsked = 16

// ErrNoHugePage is the reason for the end of a session whose guest uses a huge page that
// cannot be provided.
var ErrNoHugePage = errors.New("a huge page of guest memory cannot be provided")

// newPageService starts a service. fail is called when a page that was requested cannot be
// provided.
func newPageService(fail func(error)) (*pageService, error) {
	u, err := openUserfault()
	if err != nil {
		return nil, err
	}
	s := &pageService{
		fault: u, fail: fail,
		zeros: make(map[uint64][]byte),
		asked: make(chan request, maxAsked),
		quit:  make(chan struct{}),
	}
	s.done.Go(s.serve)
	return s, nil
}

// close ends the service. Its mappings are closed.
func (s *pageService) close() {
	close(s.quit)
	s.done.Wait()
	for _, zeros := range s.zeros {
		_ = unix.Munmap(zeros)
	}
	s.fault.close()
}

// zeroPage returns a page of zeros of a size.
func (s *pageService) zeroPage(size uint64) ([]byte, error) {
	if zeros := s.zeros[size]; zeros != nil {
		return zeros, nil
	}
	zeros, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("mapping a page of zeros: %w", err)
	}
	s.zeros[size] = zeros
	return zeros, nil
}

// watch starts to watch the pages of m and to provide them.
func (s *pageService) watch(m *mapping) error {
	zeros, err := s.zeroPage(m.pageSize)
	if err != nil {
		return err
	}
	if err := s.fault.register(m.all); err != nil {
		return err
	}
	m.pages = &watchedPages{service: s, mem: m.all, page: m.pageSize, zeros: zeros}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, m.pages)
	if !s.running {
		s.running = true
		s.done.Go(s.provideAhead)
	}
	return nil
}

// close ends the provision of a mapping's pages. When close returns, no page is being provided.
func (p *watchedPages) close() {
	s := p.service
	s.mu.Lock()
	s.waiting = slices.DeleteFunc(s.waiting, func(o *watchedPages) bool { return o == p })
	s.mu.Unlock()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
}

// ask requests the page that contains addr, and reports whether the mapping has such a page.
func (p *watchedPages) ask(addr uintptr) bool {
	off := uint64(addr - address(p.mem))
	if off >= uint64(len(p.mem)) {
		return false
	}
	select {
	case p.service.asked <- request{p, off / p.page}:
	default:
	}
	return true
}

// serve provides the pages that are requested.
func (s *pageService) serve() {
	for {
		select {
		case <-s.quit:
			return
		case r := <-s.asked:
			if err := r.pages.one(r.i); err != nil {
				s.fail(fmt.Errorf("%w: %w", ErrNoHugePage, err))
				return
			}
		}
	}
}

// errClosed is returned for a page of a mapping that is closed.
var errClosed = errors.New("the mapping is closed")

// provide provides the page with index i.
func (p *watchedPages) provide(i uint64) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return errClosed
	}
	return p.service.fault.provide(p.mem[i*p.page:(i+1)*p.page], p.zeros)
}

// one provides the page with index i, unless it is present already or the mapping is closed.
func (p *watchedPages) one(i uint64) error {
	for range 10 {
		switch err := p.provide(i); {
		case errors.Is(err, unix.EAGAIN): // interrupted
		case errors.Is(err, unix.EEXIST):
			// The kernel also returns this error when it has no page left.
			if p.present(i) {
				return nil
			}
		case err == errClosed:
			return nil
		default:
			return err
		}
	}
	return fmt.Errorf("none is free: %w", unix.ENOMEM)
}

// present reports whether the page with index i can be read, or its mapping is closed.
func (p *watchedPages) present(i uint64) (is bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return true
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { is = recover() == nil }()
	_ = atomic.LoadUint32(firstWord(p.mem[i*p.page:]))
	return true
}

// within provides the pages that contain bytes from off to end, and waits for them.
func (p *watchedPages) within(off, end uint64) error {
	for i := off / p.page; i*p.page < min(end, uint64(len(p.mem))); i++ {
		if err := p.one(i); err != nil {
			return err
		}
	}
	return nil
}

// provideAhead provides the reserved pages of the waiting mappings, one after another.
func (s *pageService) provideAhead() {
	// Guests and workers take precedence. The thread ends with the goroutine.
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 {
			s.running = false
			s.mu.Unlock()
			return
		}
		next := s.waiting[0]
		s.waiting = slices.Delete(s.waiting, 0, 1)
		s.mu.Unlock()
		next.ahead()
	}
}

// ahead provides the pages of a mapping in order, as long as reserved ones are left.
func (p *watchedPages) ahead() {
	reserved, err := openReserved(p.page)
	if err != nil {
		return
	}
	defer reserved.Close()
	for i := range uint64(len(p.mem)) / p.page {
		before, err := readReserved(reserved)
		if err != nil || before == 0 {
			return
		}
		switch err := p.provide(i); {
		case errors.Is(err, unix.EEXIST):
			continue
		case err != nil:
			return // closed, or the next access to the page finds out why
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
