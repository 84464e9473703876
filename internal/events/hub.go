package events

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

	"vswitchd/internal/control"
)

// Limits.
const (
	// MaxListeners is the most listeners at a time.
	MaxListeners = 32

	// MaxQueue is the most events that wait for a listener. They share their text with other
	// listeners; each takes some hundred bytes.
	MaxQueue = 2048
)

// A Hub distributes events. The zero value has no listeners. Its methods may be called from any
// goroutine.
type Hub struct {
	active atomic.Int32 // number of listeners

	mu        sync.Mutex
	closed    bool
	listeners []*Listener
}

// Active reports whether anybody listens. Whoever would have to work for an event asks first.
func (h *Hub) Active() bool { return h.active.Load() > 0 }

// Publish gives an event to the listeners that want events like this one.
func (h *Hub) Publish(e control.Event) {
	if !h.Active() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var data []byte
	for _, l := range h.listeners {
		if !l.filter.Match(&e) {
			continue
		}
		if data == nil {
			var err error
			if data, err = json.Marshal(e); err != nil {
				return // no detail has a value that cannot be encoded
			}
		}
		l.add(e.Kind, data)
	}
}

// Lose tells the listeners that want events of a kind that n of them are missing from now on.
func (h *Hub) Lose(kind control.EventKind, n uint64) {
	if n == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.listeners {
		if l.filter.Wants(kind) {
			l.lose(kind, n)
		}
	}
}

// Listen adds a listener. The error wraps control.ErrBusy if there are MaxListeners already, or
// the hub is closed.
func (h *Hub) Listen(f control.EventFilter) (*Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.listeners) >= MaxListeners {
		return nil, control.ErrBusy
	}
	l := &Listener{hub: h, filter: f, ready: make(chan struct{}, 1)}
	h.listeners = append(h.listeners, l)
	h.active.Add(1)
	return l, nil
}

// Close ends all listeners: they get what is in their queues, and nothing more.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, l := range h.listeners {
		l.end()
	}
}

func (h *Hub) remove(l *Listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.listeners)
	h.listeners = slices.DeleteFunc(h.listeners, func(o *Listener) bool { return o == l })
	h.active.Add(int32(len(h.listeners) - n))
}
