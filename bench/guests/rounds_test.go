package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTables(t *testing.T) {
	ours, theirs := &network{name: "ours"}, &network{name: "theirs"}
	r := &results{[]*network{ours, theirs}, map[key][]value{
		{ours, true, "TCP"}:    {{mbits: 900, outside: 2}, {mbits: 800, outside: 2}, {mbits: 1000, outside: 2}},
		{theirs, true, "TCP"}:  {{mbits: 450, outside: 3}, {mbits: 500, outside: 2}, {mbits: 500, outside: 1}},
		{ours, false, "UDP"}:   {{mbits: 30, outside: 20}},
		{theirs, false, "UDP"}: {{mbits: 15, outside: 80}},
	}}
	want := `From one guest's iperf3 to the other's, in Mbit/s:

| | ours | theirs | ours / theirs |
|---|---|---|---|
| TCP, offloads | 900 (800–1000) | 500 (450–500) | **2.00 (1.60–2.00)** |
| UDP, offloads | - | - | - |
| TCP, no offloads | - | - | - |
| UDP, no offloads | 30.0 (30.0–30.0) | 15.0 (15.0–15.0) | **2.00 (2.00–2.00)** |

Processor time outside the guests, in seconds for 10⁹ bytes that arrive:

| | ours | theirs | theirs / ours |
|---|---|---|---|
| TCP, offloads | 2.00 (2.00–2.00) | 2.00 (1.00–3.00) | **1.00 (0.50–1.50)** |
| UDP, offloads | - | - | - |
| TCP, no offloads | - | - | - |
| UDP, no offloads | 20.0 (20.0–20.0) | 80.0 (80.0–80.0) | **4.00 (4.00–4.00)** |

`
	if diff := cmp.Diff(want, r.markdown()); diff != "" {
		t.Error(diff)
	}
}
