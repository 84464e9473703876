package events

import (
	"context"
	"sync"

	"vswitchd/internal/control"
)

// A Listener is a listener of a Hub, and its queue. It implements control.EventListener.
type Listener struct {
	hub    *Hub
	filter control.EventFilter
	ready  chan struct{} // holds a value when there is something for Next

	mu     sync.Mutex
	queue  []control.QueuedEvent // at most MaxQueue, and one that says what is lost
	number uint64                // of the last event, lost ones included
	over   bool
}

// Filter returns what the listener wants.
func (l *Listener) Filter() control.EventFilter { return l.filter }

// add puts an event into the queue, or counts it as lost.
func (l *Listener) add(kind control.EventKind, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= MaxQueue {
		l.loseLocked(kind, 1)
		return
	}
	l.number++
	l.put(control.QueuedEvent{Number: l.number, Kind: kind, Data: data})
}

func (l *Listener) lose(kind control.EventKind, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loseLocked(kind, n)
}

// loseLocked counts lost events where they would be in the queue. Needs mu.
func (l *Listener) loseLocked(kind control.EventKind, n uint64) {
	l.number += n
	last := len(l.queue) - 1
	if last < 0 || l.queue[last].Lost == nil {
		l.put(control.QueuedEvent{Kind: control.EventStream, Lost: make(control.Tally)})
		last++
	}
	l.queue[last].Number = l.number
	l.queue[last].Lost[string(kind)] += n
}

func (l *Listener) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.tell()
}

// put appends to the queue. Needs mu.
func (l *Listener) put(e control.QueuedEvent) {
	l.queue = append(l.queue, e)
	l.tell()
}

func (l *Listener) tell() {
	select {
	case l.ready <- struct{}{}:
	default: // Next has not come to it yet
	}
}

// Next implements control.EventListener.
func (l *Listener) Next(ctx context.Context) ([]control.QueuedEvent, error) {
	for {
		select {
		case <-l.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch list, over := l.take(); {
		case len(list) > 0:
			return list, nil
		case over:
			return nil, control.ErrStreamOver
		}
	}
}

// take empties the queue. After the end of the hub, another Next does not wait.
func (l *Listener) take() (list []control.QueuedEvent, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list, l.queue = l.queue, nil
	if l.over {
		l.tell()
	}
	return list, l.over
}

// Close removes the listener from its hub. It may be called several times.
func (l *Listener) Close() { l.hub.remove(l) }
