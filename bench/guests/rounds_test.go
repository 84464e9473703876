package guests

import (
	"strings"
	"testing"
)

func TestTables(t *testing.T) {
	ours, theirs := &network{name: "ours"}, &network{name: "theirs"}
	r := &results{networks: []*network{ours, theirs}, devices: devices, values: map[key][]value{
		{ours, devices[0], "TCP"}:   {{mbits: 900, guests: 8, outside: 2}, {mbits: 800, guests: 8, outside: 2}, {mbits: 1000, guests: 8, outside: 2}},
		{theirs, devices[0], "TCP"}: {{mbits: 450, guests: 6, outside: 3}, {mbits: 500, guests: 8, outside: 2}, {mbits: 500, guests: 8, outside: 1}},
		{ours, devices[2], "UDP"}:   {{mbits: 30}},
	}}
	want := []string{
		"From one guest's iperf3 to the other's, in Mbit/s:",
		"| | ours | theirs | ours / theirs |",
		"| TCP, offloads | 900 (800–1000) | 500 (450–500) | **2.00 (1.60–2.00)** |",
		"| TCP, offloads, receive rings of 1024 | - | - | - |",
		"| TCP, no offloads | - | - | - |",
		"| UDP, no offloads | 30.0 (30.0–30.0) | - | - |",
		"| | ours | theirs | theirs / ours |",
		"| TCP, offloads | 8.00 (8.00–8.00) | 8.00 (6.00–8.00) | **1.00 (0.75–1.00)** |",
		"| TCP, offloads | 2.00 (2.00–2.00) | 2.00 (1.00–3.00) | **1.00 (0.50–1.50)** |",
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
