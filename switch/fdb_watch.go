package vswitch

import "slices"

// WatchFDB returns a channel that tells when entries of the FDB have come, moved to another port or
// gone, until stop is called. It is a hint that says to look (FDB): many changes may be one token,
// and the table may have changed again since.
func (s *Switch) WatchFDB() (changes <-chan struct{}, stop func()) {
	t, c := s.fdb, make(chan struct{}, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watchers = append(t.watchers, c)
	return c, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.watchers = slices.DeleteFunc(t.watchers, func(w chan struct{}) bool { return w == c })
	}
}

// changed tells those who watch. mu is held.
func (t *fdb) changed() {
	for _, c := range t.watchers {
		select {
		case c <- struct{}{}:
		default: // there is a token
		}
	}
}
