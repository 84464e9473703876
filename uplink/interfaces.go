package uplink

import (
	"errors"
	"fmt"
	"sync"
)

// ErrTaken is the reason why an uplink waits if another uplink has its interface.
var ErrTaken = errors.New("another uplink has the interface")

// Interfaces records which uplink has which interface. Uplinks that share an Interfaces
// (Config.Interfaces) never have the same interface at the same time: a frame that came in by one
// of them would go out again by the other. Interfaces are identified by index, since a name is not
// permanent: an interface can be renamed, or have several names.
//
// The zero value is ready for use. All uplinks are in the network namespace of the process.
type Interfaces struct {
	mu      sync.Mutex
	users   map[int]*Uplink      // by index
	waiting map[*Uplink]struct{} // those that were refused one
}

// take gives an interface to u. The error wraps ErrTaken if another uplink has the interface; u is
// woken when any uplink releases an interface.
func (s *Interfaces) take(l *link, u *Uplink) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if user := s.users[l.index]; user != nil && user != u {
		if s.waiting == nil {
			s.waiting = make(map[*Uplink]struct{})
		}
		s.waiting[u] = struct{}{}
		return fmt.Errorf("%w: %s (index %d) belongs to uplink %s", ErrTaken, l.name, l.index, user.cfg.Name)
	}
	if s.users == nil {
		s.users = make(map[int]*Uplink)
	}
	s.users[l.index] = u
	delete(s.waiting, u)
	return nil
}

// release takes back all interfaces of u, and wakes the uplinks that wait.
func (s *Interfaces) release(u *Uplink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, u)
	for index, user := range s.users {
		if user == u {
			delete(s.users, index)
		}
	}
	for w := range s.waiting {
		select {
		case w.wake <- struct{}{}:
		default: // it has been woken already
		}
	}
}

// Rename changes Config.Name.
func (u *Uplink) Rename(name string) {
	s := u.cfg.Interfaces
	s.mu.Lock()
	defer s.mu.Unlock()
	u.cfg.Name = name
}
