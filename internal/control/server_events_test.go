package control_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
	"vswitchd/internal/events"
)

// serveEvents serves a backend with other times than vswitchd's, until stop is called or the test
// ends.
func serveEvents(t *testing.T, b control.Backend, heartbeat, stalled time.Duration) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "control.sock")
	l, err := control.Listen(t.Context(), socket, control.Access{UID: -1, GID: -1, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	s := control.NewServer(b, nil, hclog.NewNullLogger())
	s.SetEventTimes(heartbeat, stalled)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		done <- nil
	}
	t.Cleanup(stop)
	return socket, stop
}

// texts returns n events of a stream as "kind event port: text".
func texts(t *testing.T, s *control.EventReader, n int) string {
	t.Helper()
	var list []string
	for range n {
		data, err := s.Next()
		if err != nil {
			t.Fatalf("after %q: %v", list, err)
		}
		var e struct {
			Time              time.Time
			Kind, Event, Port string
			Text              string
			Detail            map[string]any
		}
		if err := json.Unmarshal(data, &e); err != nil || e.Time.IsZero() || e.Detail == nil {
			t.Fatalf("%s: %v", data, err)
		}
		list = append(list, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s: %s", e.Kind, e.Event, e.Port, e.Text)), " "))
	}
	return strings.Join(list, "\n")
}

func eventsOf(t *testing.T, socket string, f control.EventFilter, snapshot bool) *control.EventReader {
	t.Helper()
	s, err := control.NewClient(socket).Events(t.Context(), f, snapshot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// left is the event that a front-end has left a port.
func left(port string) control.Event {
	return control.NewEvent(control.EventSession, "disconnected", port, &control.SessionEvent{Number: 1, Reason: "gone"})
}

// A listener gets the events that it has asked for.
func TestEventsAreStreamed(t *testing.T) {
	b := controltest.Sample()
	socket, stop := serveEvents(t, b, time.Hour, time.Hour)
	all := eventsOf(t, socket, control.EventFilter{}, false)
	some := eventsOf(t, socket, control.EventFilter{Kinds: []control.EventKind{control.EventSession, control.EventLoop}, Port: "vm1"}, false)
	started := "stream started : listening to vswitchd 1.2.3"
	for _, s := range []*control.EventReader{all, some} {
		if got := texts(t, s, 1); got != started {
			t.Errorf("began with %s", got)
		}
	}
	b.Events.Publish(left("vm2"))
	b.Events.Publish(control.NewEvent(control.EventLoop, "blocked", "vm2", &control.LoopEvent{Other: "vm1", VLAN: 7, ForS: 60}))
	b.Events.Lose(control.EventFDB, 3)
	b.Events.Publish(left("vm1"))
	if got, want := texts(t, all, 4), `session disconnected vm2: front-end left (gone)
loop blocked vm2: blocked for 60 s: loop with vm1, VLAN 7
stream lost : 3 events lost: 3 fdb
session disconnected vm1: front-end left (gone)`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := texts(t, some, 2), `loop blocked vm2: blocked for 60 s: loop with vm1, VLAN 7
session disconnected vm1: front-end left (gone)`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	stop()
	for _, s := range []*control.EventReader{all, some} {
		if got, want := texts(t, s, 1), "stream ended : ended: vswitchd is stopping"; got != want {
			t.Errorf("at the end: %s, want %s", got, want)
		}
		if _, err := s.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("behind the end: %v", err)
		}
	}
}

// A snapshot says what is present, before anything else.
func TestSnapshots(t *testing.T) {
	b := controltest.Sample()
	socket, _ := serveEvents(t, b, time.Hour, time.Hour)
	s := eventsOf(t, socket, control.EventFilter{Kinds: []control.EventKind{control.EventPort, control.EventFDB, control.EventMDB}}, true)
	var got []string
	for len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "stream synced") {
		got = append(got, texts(t, s, 1))
	}
	for _, want := range []string{
		"port present vm1: present: guest, running",
		"port present wan: present: uplink, blocked (loop with lan)",
		"fdb present vm1: present 52:54:00:00:00:01 in VLAN 7, static",
		"mdb present vm1: present 239.1.1.1 in VLAN 7",
	} {
		if !strings.Contains("\n"+strings.Join(got, "\n")+"\n", "\n"+want+"\n") {
			t.Errorf("%q is missing in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if n := 3 + len(b.Details) + len(b.Entries) + len(b.Groups.Entries); len(got) != n-1 {
		t.Errorf("%d events, want %d", len(got), n-1)
	}
	ofPort := eventsOf(t, socket, control.EventFilter{Kinds: []control.EventKind{control.EventPort}, Port: "vm1"}, true)
	if got := texts(t, ofPort, 3); strings.Count(got, "port present") != 1 {
		t.Errorf("of one port:\n%s", got)
	}
}

// Requests are checked, and there is a limit of listeners.
func TestEventRequestsAreChecked(t *testing.T) {
	b := controltest.Sample()
	socket, _ := serveEvents(t, b, time.Hour, time.Hour)
	for query, want := range map[string]string{
		"?kind=fbd":      `400 {"error":"kind is \"fbd\", must be one of port, session, fdb, mdb, loop, conflict, config, capture; did you mean \"fdb\"?"}`,
		"?kind=fdb,":     `400 {"error":"kind is \"\", must be one of port, session, fdb, mdb, loop, conflict, config, capture"}`,
		"?kind=stream":   `400 {"error":"kind is \"stream\", must be one of port, session, fdb, mdb, loop, conflict, config, capture"}`,
		"?port=vm9":      `404 {"error":"no such port: \"vm9\"; did you mean \"vm1\"?"}`,
		"?snapshot=some": `400 {"error":"snapshot is \"some\", must be true or false"}`,
		"?kinds=fdb":     `400 {"error":"unknown parameter \"kinds\""}`,
	} {
		status, body := raw(t, socket, "GET", "/v1/events"+query)
		if got := fmt.Sprint(status, " ", body); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	var streams []*control.EventReader
	for range events.MaxListeners {
		streams = append(streams, eventsOf(t, socket, control.EventFilter{}, false))
	}
	if status, body := raw(t, socket, "GET", "/v1/events"); status != http.StatusServiceUnavailable {
		t.Errorf("one more listener: %d %s", status, body)
	}
	streams[0].Close()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s, err := control.NewClient(socket).Events(t.Context(), control.EventFilter{}, false)
		if err == nil {
			s.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a listener that has left makes no room: %v", err)
		}
	}
	if got := get[control.SwitchInfo](t, socket, "/v1/switch"); got.Version != "1.2.3" {
		t.Errorf("listeners keep others out: %+v", got)
	}
}

// dial sends a request for events and returns the connection, of which nothing has been read.
func dialEvents(t *testing.T, socket string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprint(c, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	return c
}

// The stream is one of server-sent events, with the number of each event, and with comments while
// there are none.
func TestEventStreamFormat(t *testing.T) {
	b := controltest.Sample()
	socket, _ := serveEvents(t, b, time.Millisecond, time.Hour)
	resp, err := http.ReadResponse(bufio.NewReader(dialEvents(t, socket)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("the type is %s", got)
	}
	lines := bufio.NewScanner(resp.Body)
	until := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("%s did not come", want)
	}
	until("event: stream")
	until("data: {")
	until(":")
	b.Events.Publish(left("vm1"))
	until("id: 1")
	until("event: session")
	until(`data: {"time":"`)
	until(":")
}

// A listener that never reads keeps its place only for a while, whatever happens, and keeps nobody
// waiting.
func TestListenersThatNeverRead(t *testing.T) {
	b := controltest.Sample()
	socket, _ := serveEvents(t, b, time.Hour, 50*time.Millisecond)
	dialEvents(t, socket)
	for end := time.Now().Add(time.Minute); !b.Events.Active(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody listens")
		}
	}
	for end := time.Now().Add(time.Minute); b.Events.Active(); time.Sleep(time.Millisecond) {
		for range 1000 {
			b.Events.Publish(left("vm1"))
		}
		if time.Now().After(end) {
			t.Fatal("a listener that does not read keeps its place")
		}
	}
}

// A stream that has stalled does not delay the end of vswitchd for long.
func TestStalledListenersDoNotKeepVswitchdFromEnding(t *testing.T) {
	b := controltest.Sample()
	socket, stop := serveEvents(t, b, time.Hour, time.Hour)
	dialEvents(t, socket)
	for end := time.Now().Add(time.Minute); !b.Events.Active(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody listens")
		}
	}
	for range 10 * events.MaxQueue {
		b.Events.Publish(left("vm1"))
	}
	stop() // returns although the stream is being written
}
