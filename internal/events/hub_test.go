package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/internal/events"
)

// moved is an event of the FDB: an address has moved from one port to another.
func moved(n int, from, to string) control.Event {
	return control.NewEvent(control.EventFDB, "moved", to, &control.FDBEvent{MAC: fmt.Sprint(n), Type: "dynamic", From: from})
}

func session(port string) control.Event {
	return control.NewEvent(control.EventSession, "connected", port, &control.SessionEvent{})
}

func listen(t *testing.T, h *events.Hub, f control.EventFilter) *events.Listener {
	t.Helper()
	l, err := h.Listen(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// next describes what is in a listener's queue, which must not be empty.
func next(t *testing.T, l *events.Listener) string {
	t.Helper()
	list, err := l.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, q := range list {
		if q.Lost != nil {
			texts = append(texts, fmt.Sprintf("%d: lost %v", q.Number, map[string]uint64(q.Lost)))
			continue
		}
		var e struct {
			Kind control.EventKind
			Port string
		}
		if err := json.Unmarshal(q.Data, &e); err != nil || e.Kind != q.Kind {
			t.Fatalf("%s: %v", q.Data, err)
		}
		texts = append(texts, fmt.Sprintf("%d: %s %s", q.Number, e.Kind, e.Port))
	}
	return strings.Join(texts, ", ")
}

// Each listener gets the events that its filter selects, in order.
func TestListenersGetWhatTheyWant(t *testing.T) {
	var h events.Hub
	h.Publish(session("a")) // before anybody listens
	all := listen(t, &h, control.EventFilter{})
	sessions := listen(t, &h, control.EventFilter{Kinds: []control.EventKind{control.EventSession}})
	ofA := listen(t, &h, control.EventFilter{Port: "a"})
	h.Publish(session("b"))
	h.Publish(moved(1, "a", "c"))
	h.Publish(session("a"))
	for _, tt := range []struct {
		l    *events.Listener
		want string
	}{
		{all, "1: session b, 2: fdb c, 3: session a"},
		{sessions, "1: session b, 2: session a"},
		{ofA, "1: fdb c, 2: session a"},
	} {
		if got := next(t, tt.l); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.l.Filter(), got, tt.want)
		}
	}
}

// What finds a queue full is lost for that listener, who is told where and how much; others lose
// nothing.
func TestSlowListenersLose(t *testing.T) {
	var h events.Hub
	slow, fast := listen(t, &h, control.EventFilter{}), listen(t, &h, control.EventFilter{})
	got := 0
	for n := range events.MaxQueue + 7 {
		h.Publish(moved(n, "a", "b"))
		if n%100 == 0 || n == events.MaxQueue+6 {
			got += len(strings.Split(next(t, fast), ", "))
		}
	}
	if got != events.MaxQueue+7 {
		t.Errorf("the fast listener got %d events", got)
	}
	h.Publish(session("a"))
	text := next(t, slow)
	if want := fmt.Sprintf("%d: fdb b, %d: lost map[fdb:7 session:1]", events.MaxQueue, events.MaxQueue+8); !strings.HasSuffix(text, want) {
		t.Errorf("the slow listener's queue ends with %s, want %s", text[len(text)-60:], want)
	}
	h.Publish(session("b"))
	if got, want := next(t, slow), fmt.Sprintf("%d: session b", events.MaxQueue+9); got != want {
		t.Errorf("behind the loss: %s, want %s", got, want)
	}
}

// What the publisher has lost is told to those who would have got it, at its place.
func TestLossesOfThePublisher(t *testing.T) {
	var h events.Hub
	both := listen(t, &h, control.EventFilter{})
	sessions := listen(t, &h, control.EventFilter{Kinds: []control.EventKind{control.EventSession}})
	h.Publish(session("a"))
	h.Lose(control.EventFDB, 5)
	h.Lose(control.EventMDB, 0)
	h.Publish(session("b"))
	if got, want := next(t, both), "1: session a, 6: lost map[fdb:5], 7: session b"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := next(t, sessions), "1: session a, 2: session b"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// There is a limit of listeners, and one that leaves makes room.
func TestListenersAreBounded(t *testing.T) {
	var h events.Hub
	if h.Active() {
		t.Error("active without listeners")
	}
	var last *events.Listener
	for range events.MaxListeners {
		last = listen(t, &h, control.EventFilter{})
	}
	if _, err := h.Listen(control.EventFilter{}); !errors.Is(err, control.ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	last.Close()
	last.Close()
	listen(t, &h, control.EventFilter{})
}

// After its end, a hub has no more listeners, and those that there were get what is in their
// queues.
func TestEnd(t *testing.T) {
	var h events.Hub
	l := listen(t, &h, control.EventFilter{})
	h.Publish(session("a"))
	h.Close()
	if got := next(t, l); got != "1: session a" {
		t.Errorf("at the end: %s", got)
	}
	for range 2 {
		if _, err := l.Next(t.Context()); !errors.Is(err, control.ErrStreamOver) {
			t.Errorf("behind the end: %v", err)
		}
	}
	if _, err := h.Listen(control.EventFilter{}); !errors.Is(err, control.ErrBusy) {
		t.Errorf("a listener after the end: %v", err)
	}
	l.Close()
	if h.Active() {
		t.Error("active without listeners")
	}
}

// Next ends with its context.
func TestNextEndsWithItsContext(t *testing.T) {
	var h events.Hub
	l := listen(t, &h, control.EventFilter{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
