//go:build e2e

package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vswitchd/internal/control"
	"vswitchd/test/child"
	"vswitchd/test/swtest"
)

// TestTraceAgreesWithGuests: guests receive what a trace says that they are sent, byte by byte;
// what it says is dropped is counted with that reason; and the trace itself changes no counter and
// no entry.
func TestTraceAgreesWithGuests(t *testing.T) {
	s := swtest.Start(t, nil, `
[port.a]
tag = 10
ingress_filter = "f"
[port.b]
[port.c]
tag = 10
[filter.f]
default = "accept"
rules = [ { name = "no-dns", action = "drop", proto = "udp", dst_ports = 53 } ]
`)
	guests := map[string]*rawGuest{}
	for _, name := range []string{"a", "b", "c"} {
		guests[name] = connectRaw(t, s.Socket(name))
	}
	for i, frame := range [][]byte{
		datagram(t, 0xff, 1, 0, 9, "to everybody, since this is a broadcast"),
		datagram(t, 3, 1, 0, 9, "to a station that is not known yet"),
		datagram(t, 0xff, 1, 0, 53, "what the filter drops"),
		datagram(t, 0xff, 1, 11, 9, "with a tag, which the port does not take"),
		datagram(t, 1, 1, 0, 9, "to the sender itself, who is known"),
	} {
		before := counters(t, s)
		var trace control.Trace
		if err := json.Unmarshal([]byte(s.Ctl(t, "-j", "trace", "a", "--frame", hex.EncodeToString(frame))), &trace); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(before, counters(t, s)); d != "" {
			t.Errorf("frame %d: the trace has changed something:\n%s", i, d)
		}
		want, drops := map[string][]string{}, map[string]uint64{}
		for _, step := range trace.Steps {
			want[step.Port] = append(want[step.Port], step.Frames...)
			if step.Result == "drop" {
				drops[step.Reason]++
			}
		}
		was := s.Port(t, "a").Counters.Drops
		guests["a"].send(frame)
		for name, g := range guests {
			got := []string{}
			for _, f := range g.take() {
				got = append(got, hex.EncodeToString(f))
			}
			if fmt.Sprint(got) != fmt.Sprint(want[name]) {
				t.Errorf("frame %d: %s receives %v, the trace says %v", i, name, got, want[name])
			}
		}
		for reason, n := range s.Port(t, "a").Counters.Drops {
			if n-was[reason] != drops[reason] {
				t.Errorf("frame %d: %d dropped as %s, the trace says %d", i, n-was[reason], reason, drops[reason])
			}
		}
	}
}

// counters returns what a trace must not change.
func counters(t *testing.T, s *swtest.Switch) string {
	t.Helper()
	text := s.Ctl(t, "-j", "filter", "show") + fmt.Sprint(s.Info(t).FDBEntries)
	for _, name := range []string{"a", "b", "c"} {
		c := s.Port(t, name).Counters
		text += fmt.Sprint(" ", name, c.RxFrames, c.TxFrames, c.Drops, c.FDBEvents)
	}
	return text
}

// TestTraceOfTheNextFrame: of the frames of a guest, the one that the filter selects is shown, with
// what has happened to it.
func TestTraceOfTheNextFrame(t *testing.T) {
	s := swtest.Start(t, nil, "[port.a]\ntag = 10\n[port.b]\n[port.c]\n")
	a, b := connectRaw(t, s.Socket("a")), connectRaw(t, s.Socket("b"))
	cmd := ctl(t, s, "-j", "trace", "a", "--next", "udp", "port", "9")
	var out bytes.Buffer
	cmd.Stdout = &out
	process, err := child.Start(cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Kill)
	frame := datagram(t, 0xff, 1, 0, 9, "the one that the filter selects")
	swtest.Until(t, "the frame is found", func() bool {
		a.send(datagram(t, 0xff, 1, 0, 8, "another one, which it does not select"))
		a.send(frame)
		b.take()
		select {
		case <-process.Exited():
			return true
		default:
			return false
		}
	})
	var trace control.Trace
	if err := json.Unmarshal(out.Bytes(), &trace); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	tagged := datagram(t, 0xff, 1, 10, 9, "the one that the filter selects")
	want := control.Trace{Port: "a", Frame: hex.EncodeToString(frame), Steps: []control.TraceStep{
		{Stage: "transmit", Port: "b", Result: "send", Frames: []string{hex.EncodeToString(tagged)}},
	}}
	if d := cmp.Diff(want, trace); d != "" {
		t.Error(d)
	}
}
