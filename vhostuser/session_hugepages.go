package vhostuser

import (
	"vswitchd/virtqueue"
)

// Absent reports whether addr, at which an access has faulted, is in a huge page of guest memory
// that may be absent, and if so requests the page: some time later the same access succeeds, or
// the session ends with ErrNoHugePage. Absent returns false for other memory of the front-end's,
// such as logs, and always without Options.WatchHugePages. It may be called from any goroutine
// and does not wait.
func (s *Session) Absent(addr uintptr) bool {
	for _, p := range *s.watched.Load() {
		if p.ask(addr) {
			return true
		}
	}
	return false
}

// storeWatched makes Absent know the pages of maps and no others.
func (s *Session) storeWatched(maps []mapping) {
	list := []*watchedPages{}
	for _, m := range maps {
		if m.pages != nil {
			list = append(list, m.pages)
		}
	}
	s.watched.Store(&list)
}

// watchPages starts to watch the huge pages of a mapping. If that is not possible, the kernel
// provides absent pages, where they are used.
func (s *Session) watchPages(m *mapping) {
	if !s.watchHugePages || m.pageSize == pageSize {
		return
	}
	var err error
	if s.pages == nil {
		if s.pages, err = newPageService(s.Fail); err != nil {
			s.watchHugePages = false
		}
	}
	if err == nil {
		err = s.pages.watch(m)
	}
	if err != nil {
		s.log.Warn("absent huge pages are waited for where they are used", "reason", err)
	}
}

// mapMemory maps memory of the front-end's.
func (s *Session) mapMemory(held uint64, fd int, r MemRegion) (mapping, error) {
	m, err := mapRegion(s.account, held, fd, r)
	if err == nil {
		s.watchPages(&m)
	}
	return m, err
}

// maxAreaPages is the number of huge pages of a log, or of a record of descriptors in flight, that
// are provided when it is mapped: 64 pages of 2 MiB hold the log for 4 TiB of guest memory. An
// access to an absent page beyond these ends the session.
const maxAreaPages = 64

// mapArea maps memory of the front-end's that is not guest memory.
func (s *Session) mapArea(held uint64, fd int, r MemRegion) (mapping, error) {
	m, err := s.mapMemory(held, fd, r)
	if err != nil || m.pages == nil {
		return m, err
	}
	if err := m.pages.within(0, min(m.length(), maxAreaPages*m.pageSize)); err != nil {
		m.unmap()
		return mapping{}, refuse("%w: %w", ErrNoHugePage, err)
	}
	return m, nil
}

// provideRing provides the huge pages that contain a ring, which the session is about to read.
func (s *Session) provideRing(cfg virtqueue.Config) error {
	const entry = 16 // of the descriptor area, which is the longest of a ring's areas
	for _, addr := range []uint64{cfg.Desc, cfg.Avail, cfg.Used} {
		for i, r := range s.state.Regions {
			off := addr - r.UserAddr
			p := s.maps[i].pages
			if off >= r.Size || p == nil {
				continue
			}
			off += uint64(address(s.maps[i].mem) - address(s.maps[i].all))
			if err := p.within(off, off+entry*uint64(max(cfg.Size, 1))); err != nil {
				return refuse("%w: %w", ErrNoHugePage, err)
			}
		}
	}
	return nil
}
