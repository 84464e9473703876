package guests

import (
	"strings"
	"testing"
)

func TestTables(t *testing.T) {
	ours, theirs := &network{name: "ours"}, &network{name: "theirs"}
	var (
		bulk     = scenario{tcp, guestToGuest, devices[0]}
		absent   = scenario{tcp, guestToUplink, devices[0]}
		datagram = scenario{udp, uplinkToGuest, devices[2]}
		moderate = scenario{slow, guestToUplink, devices[0]}
	)
	r := &results{
		networks:  []*network{ours, theirs},
		scenarios: []scenario{bulk, absent, datagram, moderate},
		values: map[key][]value{
			{ours, bulk.name()}:       {{mbits: 900, guests: 8, outside: 2}, {mbits: 800, guests: 8, outside: 2}, {mbits: 1000, guests: 8, outside: 2, again: 3}},
			{theirs, bulk.name()}:     {{mbits: 450, guests: 6, outside: 3}, {mbits: 500, guests: 8, outside: 2}, {mbits: 500, guests: 8, outside: 1}},
			{ours, datagram.name()}:   {{mbits: 30, lost: 0.25, interrupts: 400}},
			{ours, moderate.name()}:   {{guestsLoad: 0.5, outsideLoad: 0.1}},
			{theirs, moderate.name()}: {{guestsLoad: 0.6, outsideLoad: 0.2}},
		},
	}
	want := []string{
		"What arrives, in Mbit/s:",
		"| | ours | theirs | ours / theirs |",
		"| TCP, guest to guest, offloads | 900 (800–1000) | 500 (450–500) | **2.00 (1.60–2.00)** |",
		"| TCP, guest to uplink, offloads | - | - | - |",
		"| UDP, uplink to guest, no offloads | 30.0 (30.0–30.0) | - | - |",
		"",
		"| | ours | theirs | theirs / ours |",
		"| TCP, guest to guest, offloads | 8.00 (8.00–8.00) | 8.00 (6.00–8.00) | **1.00 (0.75–1.00)** |",
		"| TCP, guest to guest, offloads | 2.00 (2.00–2.00) | 2.00 (1.00–3.00) | **1.00 (0.50–1.50)** |",
		"| | ours | theirs |",
		"| TCP, guest to guest, offloads | 0.00 (0.00–3.00) | 0.00 (0.00–0.00) |",
		"| UDP, uplink to guest, no offloads | 25.0 (25.0–25.0) | - |",
		"| UDP, uplink to guest, no offloads | 400 (400–400) | - | - |",
		"| 1,000 frames/s, guest to uplink, offloads | 50.0 (50.0–50.0) | 60.0 (60.0–60.0) | **1.20 (1.20–1.20)** |",
		"| 1,000 frames/s, guest to uplink, offloads | 10.0 (10.0–10.0) | 20.0 (20.0–20.0) | **2.00 (2.00–2.00)** |",
	}
	rest := "\n" + r.markdown()
	for _, line := range want {
		_, after, ok := strings.Cut(rest, "\n"+line+"\n")
		if !ok {
			t.Fatalf("no line %q, or not in its place, in\n%s", line, r.markdown())
		}
		rest = "\n" + after
	}
}

// No two scenarios have one name, by which their results are kept.
func TestNamesAreDistinct(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range scenarios() {
		if seen[s.name()] {
			t.Errorf("%q twice", s.name())
		}
		seen[s.name()] = true
	}
}
