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
	for _, p := range *s.providers.Load() {
		if p.ask(addr) {
			return true
		}
	}
	return false
}

// storeProviders makes Absent use the providers of maps and no others.
func (s *Session) storeProviders(maps []mapping) {
	list := []*pageProvider{}
	for _, m := range maps {
		if m.provider != nil {
			list = append(list, m.provider)
		}
	}
	s.providers.Store(&list)
}

// watchPages registers a mapping of huge pages, and reports whether its pages are watched now.
func (s *Session) watchPages(m *mapping) bool {
	if !s.watchHugePages || m.pageSize == pageSize {
		return false
	}
	if s.fault == nil {
		u, err := openUserfault()
		if err != nil {
			s.watchHugePages = false
			s.log.Warn("absent huge pages are waited for where they are used", "reason", err)
			return false
		}
		s.fault = u
	}
	if err := s.fault.register(m.all); err != nil {
		s.log.Warn("absent huge pages are waited for where they are used", "reason", err)
		return false
	}
	return true
}

// mapMemory maps a region of guest memory.
func (s *Session) mapMemory(held uint64, fd int, r MemRegion) (mapping, error) {
	m, err := mapRegion(s.account, held, fd, r)
	if err != nil || !s.watchPages(&m) {
		return m, err
	}
	if err := m.provide(s.fault, s.Fail); err != nil {
		m.unmap()
		return mapping{}, err
	}
	return m, nil
}

// maxAreaPages is the number of huge pages of a log, or of a record of descriptors in flight, that
// are provided when it is mapped: 64 pages of 2 MiB hold the log for 4 TiB of guest memory. An
// access to an absent page beyond these ends the session.
const maxAreaPages = 64

// mapArea maps memory of the front-end's that is not guest memory.
func (s *Session) mapArea(held uint64, fd int, r MemRegion) (mapping, error) {
	m, err := mapRegion(s.account, held, fd, r)
	if err != nil || !s.watchPages(&m) {
		return m, err
	}
	if err := m.provide(s.fault, s.Fail); err != nil {
		m.unmap()
		return mapping{}, err
	}
	if err := m.provider.within(0, min(m.length(), maxAreaPages*m.pageSize)); err != nil {
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
			p := s.maps[i].provider
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
