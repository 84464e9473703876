//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"vswitchd/test/child"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// A liveMonitor is a vswitchctl that prints events.
type liveMonitor struct {
	t       *testing.T
	process *child.Process
	events  chan monitored // closed when there are no more
	stderr  *bytes.Buffer
}

type monitored struct {
	Kind, Event, Port, Text string
	Detail                  map[string]any
}

// startMonitor starts vswitchctl, and returns when it listens.
func startMonitor(t *testing.T, s *swtest.Switch, args ...string) *liveMonitor {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	m := &liveMonitor{t: t, events: make(chan monitored, 10000), stderr: new(bytes.Buffer)}
	cmd := ctl(t, s, append([]string{"-j", "monitor"}, args...)...)
	cmd.Stdout, cmd.Stderr = w, m.stderr
	if m.process, err = child.Start(cmd, nil); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(m.process.Kill)
	go func() {
		defer r.Close()
		defer close(m.events)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			var e monitored
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				e.Text = fmt.Sprintf("%s: %v", lines.Bytes(), err)
			}
			m.events <- e
		}
	}()
	m.hears("stream", "started", "")
	return m
}

// hears waits for an event, and passes over others.
func (m *liveMonitor) hears(kind, event, port string) monitored {
	m.t.Helper()
	timeout := time.After(time.Minute)
	var passed []string
	for {
		select {
		case e, ok := <-m.events:
			if !ok {
				m.t.Fatalf("vswitchctl has ended before %s %s %s, after %q: %s", kind, event, port, passed, m.stderr)
			}
			if e.Kind == kind && e.Event == event && e.Port == port {
				return e
			}
			passed = append(passed, fmt.Sprintf("%s %s %s: %s", e.Kind, e.Event, e.Port, e.Text))
		case <-timeout:
			m.t.Fatalf("%s %s %s has not come, but %q", kind, event, port, passed)
		}
	}
}

// status waits for the end, and returns the exit status.
func (m *liveMonitor) status() int {
	<-m.process.Exited()
	return m.process.State().ExitCode()
}

// TestMonitorSeesGuests: a guest's front-end connects, the guest runs, its address is learned, and
// moves to another port and back, where it flaps; the port of a guest is removed, and the other
// guest is killed.
func TestMonitorSeesGuests(t *testing.T) {
	s := swtest.Start(t, nil, "loop_detection = false\n[port.a]\n[port.b]\n")
	m, ofB := startMonitor(t, s), startMonitor(t, s, "b", "--kind", "session,port")
	guests := vm.StartAll(t, guestConfig(s, vm.QEMU10, "a", 1), guestConfig(s, vm.QEMU10, "b", 2))
	a, b := guests[0], guests[1]
	mustPing(t, testContext(t), a, "10.0.0.2")
	ofB.hears("session", "connected", "b")
	ofB.hears("session", "running", "b")
	if e := m.hears("fdb", "learned", "b"); e.Detail["mac"] != b.Config.MAC {
		t.Errorf("learned %v, want %s", e.Detail, b.Config.MAC)
	}

	// Frames of guest b with the address of guest a make that move to and fro.
	readdress(t, b, a.Config.MAC)
	swtest.Until(t, "the address has flapped", func() bool {
		_ = b.MustRun(t, "arping -U -c 1 -I eth0 -s 10.0.0.2 10.0.0.2 || true")
		_ = a.MustRun(t, "arping -U -c 1 -I eth0 -s 10.0.0.1 10.0.0.1 || true")
		return s.Info(t).FDBEvents["flapped"] > 1
	})
	if e := m.hears("fdb", "moved", "b"); e.Detail["from"] != "a" || e.Detail["mac"] != a.Config.MAC {
		t.Errorf("moved: %v", e.Detail)
	}
	swtest.Until(t, "the flapping is told", func() bool {
		e := <-m.events
		return e.Kind == "conflict" && e.Event == "flapping" && e.Detail["mac"] == a.Config.MAC
	})

	s.Ctl(t, "port", "del", "a")
	m.hears("session", "disconnected", "a")
	m.hears("port", "removed", "a")
	m.hears("config", "edited", "")
	b.Kill()
	if e := m.hears("session", "reset", "b"); e.Detail["reset"] != "died" {
		t.Errorf("the end of a guest that is killed: %v", e.Detail)
	}
	if e := ofB.hears("session", "reset", "b"); e.Detail["number"] != 1.0 {
		t.Errorf("the end of a guest that is killed: %v", e.Detail)
	}

	if err := ofB.process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := ofB.status(); code != 0 {
		t.Errorf("interrupted, vswitchctl ends with status %d: %s", code, ofB.stderr)
	}
	s.Signal(t, syscall.SIGTERM)
	m.hears("stream", "ended", "")
	if code := m.status(); code != 3 {
		t.Errorf("vswitchctl ends with status %d: %s", code, m.stderr)
	}
}
