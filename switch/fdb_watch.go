package vswitch

import "slices"

// WatchFDB returns a channel that receives a value after entries of the FDB have been added, moved
// to another port or removed, until stop is called. The value is a hint to call FDB: one value may
// stand for many changes, and the table may have changed again since.
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

// changed notifies the watchers and ends what inlets remember. It is called after the table has
// been changed. Needs mu.
func (t *fdb) changed() {
	t.changes.Add(1)
	for _, c := range t.watchers {
		select {
		case c <- struct{}{}:
		default: // a value is waiting already
		}
	}
}
