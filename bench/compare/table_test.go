package compare

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTables(t *testing.T) {
	s := []scenario{{name: "fast"}, {name: "slow"}, {name: "soon", kind: hot}, {name: "late", kind: asleep}}
	r := &results{backEnds: []starter{{name: "ours"}, {name: "theirs"}}, scenarios: s, values: map[key][]value{
		{"ours", "fast"}:   {{x: 12}, {x: 9}, {x: 30}},
		{"theirs", "fast"}: {{x: 4}, {x: 4.5}, {x: 3}},
		{"ours", "slow"}:   {{x: 0.1234}},
		{"ours", "late"}:   {{x: 100}, {x: 50}},
		{"theirs", "late"}: {{x: 25}, {x: 100}},
	}}
	want := `Frames delivered, in millions per second:

| | ours | theirs | ours / theirs |
|---|---|---|---|
| fast | 12.0 (9.00–30.0) | 4.00 (3.00–4.50) | **3.00 (2.00–10.0)** |
| slow | 0.12 (0.12–0.12) | - | - |

Time from one guest's ring to the other's, in microseconds:

| | ours | theirs | theirs / ours |
|---|---|---|---|
| soon | - | - | - |

The same after silence, next to the time in which one thread wakes another:

| | ours | theirs | theirs / ours |
|---|---|---|---|
| late | 75.0 (50.0–100) | 62.5 (25.0–100) | **1.12 (0.25–2.00)** |

`
	if diff := cmp.Diff(want, r.markdown()); diff != "" {
		t.Error(diff)
	}
}
