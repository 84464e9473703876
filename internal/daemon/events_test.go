package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vswitchd/internal/control"
	"vswitchd/internal/port/guest"
	"vswitchd/internal/port/uplinkport"
	"vswitchd/internal/tomldoc"
	vswitch "vswitchd/switch"
)

// An ear listens to the events of a lab's daemon.
type ear struct {
	l        *lab
	listener control.EventListener
	heard    []heard // and not yet asked for
}

type heard struct {
	Kind, Event, Port, Text string
	Detail                  map[string]any
}

func (l *lab) ear(f control.EventFilter) *ear {
	l.Helper()
	listener, err := l.d.Backend().Listen(f)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(listener.Close)
	return &ear{l: l, listener: listener}
}

// hears waits for an event, and returns it. Events before it are passed over.
func (e *ear) hears(kind, event, port string) heard {
	e.l.Helper()
	ctx, cancel := context.WithTimeout(e.l.Context(), 10*time.Second)
	defer cancel()
	var passed []string
	for {
		for i, h := range e.heard {
			if h.Kind == kind && h.Event == event && h.Port == port {
				e.heard = e.heard[i+1:]
				return h
			}
			passed = append(passed, fmt.Sprintf("%s %s %s: %s", h.Kind, h.Event, h.Port, h.Text))
		}
		e.heard = nil
		list, err := e.listener.Next(ctx)
		if err != nil {
			e.l.Fatalf("waiting for %s %s %s: %v; heard %q", kind, event, port, err, passed)
		}
		for _, q := range list {
			var h heard
			if q.Lost != nil {
				h = heard{Kind: "stream", Event: "lost"}
			} else if err := json.Unmarshal(q.Data, &h); err != nil {
				e.l.Fatalf("%s: %v", q.Data, err)
			}
			e.heard = append(e.heard, h)
		}
	}
}

// want fails the test if a detail of an event has another value.
func (h heard) want(t *testing.T, key string, want any) {
	t.Helper()
	if fmt.Sprint(h.Detail[key]) != fmt.Sprint(want) {
		t.Errorf("%s %s %s: %s is %v, want %v", h.Kind, h.Event, h.Port, key, h.Detail[key], want)
	}
}

// A guest's life is told: from the front-end that connects to the one that is gone.
func TestEventsOfGuests(t *testing.T) {
	l := newLab(t, "[port.a]\n[port.b]\n")
	e := l.ear(control.EventFilter{})
	a, b := l.connect("a", 1), l.connect("b", 2)
	a.Talk(b.MAC(), 16)
	b.Talk(a.MAC(), 16)
	a.Start()
	b.Start()
	l.must(a.Await(100))
	c := e.hears("session", "connected", "a")
	c.want(t, "number", 1)
	e.hears("session", "running", "b")
	e.hears("fdb", "learned", "b").want(t, "mac", fmt.Sprint(vswitch.MAC(b.MAC())))
	l.must(a.Drain())
	l.must(b.Drain())
	l.must(a.Leave())
	l.must(b.Leave())
	e.hears("session", "disconnected", "b").want(t, "number", 1)
	s := e.hears("port", "state", "b")
	s.want(t, "state", "listening")
	b2 := l.connect("b", 3)
	l.must(b2.Die())
	r := e.hears("session", "reset", "b")
	r.want(t, "number", 2)
	r.want(t, "reset", "died")
}

// The states of ports are told with the reason, also those of ports that are down all the time.
func TestEventsOfStates(t *testing.T) {
	l := newLab(t, "[uplink.lan]\ninterface = \"nic0\"\n")
	e := l.ear(control.EventFilter{Kinds: []control.EventKind{control.EventPort}, Port: "lan"})
	l.addWire("nic0", "far0")
	e.hears("port", "state", "lan").want(t, "state", "running")
	l.must(netlink.LinkSetDown(l.link("far0")))
	down := e.hears("port", "state", "lan")
	down.want(t, "was", "running")
	down.want(t, "reason", "the interface has no carrier")
}

// Changes of the configuration are told, with what they do to ports.
func TestEventsOfTheConfiguration(t *testing.T) {
	l := newLab(t, "[port.a]\n[port.b]\n")
	c := l.configuration("[port.a]\n[port.b]\n")
	e := l.ear(control.EventFilter{})
	if _, err := c.Edit(edits("add", "/port/c", &tomldoc.Table{}, "add", "/port/a/tag", int64(7), "remove", "/port/b", nil), "", false); err != nil {
		t.Fatal(err)
	}
	e.hears("port", "removed", "b")
	e.hears("port", "reconfigured", "a").want(t, "keys", "[tag vlan_mode]")
	e.hears("port", "added", "c").want(t, "state", "listening")
	edited := e.hears("config", "edited", "")
	edited.want(t, "changed", "[port a reconfigured port b removed port c added]")
	edited.want(t, "revision", c.Config().Revision)
	if _, err := c.Edit(edits("add", "/port/a/tag", int64(5000)), "", false); err == nil {
		t.Fatal("the edit is not refused")
	}
	e.hears("config", "refused", "").want(t, "request", "edit")
	if _, err := c.Edit(edits("add", "/port/a/tag", int64(8)), "", true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	e.hears("port", "added", "b") // and nothing of the dry run
	e.hears("config", "reloaded", "")

	renamed := l.configuration("[port.new]\nsocket = \"$a.sock\"\n")
	if _, err := renamed.Reload(); err != nil {
		t.Fatal(err)
	}
	e.hears("port", "renamed", "new").want(t, "from", "a")
}

// Captures are told when they begin and end.
func TestEventsOfCaptures(t *testing.T) {
	l := newLab(t, "[port.a]\n[port.b]\n")
	e := l.ear(control.EventFilter{Port: "a"})
	for _, ports := range [][]string{{"b"}, {"a", "b"}} {
		c, err := l.d.Backend().Capture(control.CaptureRequest{Ports: ports, Direction: "in"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l.must(c.Run(ctx, io.Discard, func() error { return nil }))
	}
	e.hears("capture", "started", "").want(t, "ports", "[a b]")
	e.hears("capture", "ended", "").want(t, "id", 2)
}

// What the switch reports once a second is told.
func TestEventsOfReports(t *testing.T) {
	l := newLab(t, "[port.a]\n[port.b]\n")
	e := l.ear(control.EventFilter{Kinds: []control.EventKind{control.EventLoop, control.EventConflict}})
	for kind := range conflictNames {
		l.d.events.reported([]vswitch.Conflict{{Port: "a", Kind: kind, Count: 3, MAC: vswitch.MAC{2}, Other: "b"}}, nil)
		c := e.hears("conflict", conflictNames[kind], "a")
		c.want(t, "count", 3)
		c.want(t, "mac", "02:00:00:00:00:00")
	}
	for change := range loopNames {
		l.d.events.reported(nil, []vswitch.LoopReport{{Port: "a", Change: change, Other: "b", VLAN: 7, For: time.Minute}})
		e.hears("loop", loopNames[change], "a").want(t, "other", "b")
	}
}

// A storm of changes of the FDB costs a listener events, and not the switch; the loss is told.
func TestEventStorm(t *testing.T) {
	l := newLabOf(t, kinds{uplinkport.Kind{}, guest.Kind{}}, "[port.a]\n")
	e := l.ear(control.EventFilter{Kinds: []control.EventKind{control.EventFDB}})
	l.d.events.mu.Lock() // nothing is published meanwhile
	for n := range 2 * journalSize {
		mac := vswitch.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)}
		l.must(l.d.sw.AddFDB(vswitch.StaticEntry{MAC: mac, Port: "a"}))
	}
	l.d.events.mu.Unlock()
	e.hears("fdb", "added", "a")
	e.hears("stream", "lost", "")
}

// While nobody listens to what the switch does, nothing is recorded.
func TestNothingIsRecordedWithoutListeners(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	watched := func() bool {
		l.d.events.mu.Lock()
		defer l.d.events.mu.Unlock()
		return l.d.events.journal != nil
	}
	config := l.ear(control.EventFilter{Kinds: []control.EventKind{control.EventConfig, control.EventLoop}})
	if watched() {
		t.Error("the switch is watched for a listener to something else")
	}
	one, two := l.ear(control.EventFilter{}), l.ear(control.EventFilter{Kinds: []control.EventKind{control.EventMDB}})
	one.listener.Close()
	one.listener.Close()
	if !watched() {
		t.Error("the switch is not watched for the second listener")
	}
	two.listener.Close()
	config.listener.Close()
	if watched() || l.d.events.hub.Active() {
		t.Error("the switch is watched without listeners")
	}
}
