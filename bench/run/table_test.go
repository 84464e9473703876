package main

import (
	"os"
	"path/filepath"
	"strings"
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
| late | 75.0 (50.0–100) | 62.5 (25.0–100) | **1.12 (0.25–2.00)** |

`
	if diff := cmp.Diff(want, r.markdown()); diff != "" {
		t.Error(diff)
	}
}

func TestReplaceSection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n" + sectionBegin + "old\n" + sectionEnd + "after\n")
	for _, text := range []string{"new\n", "newer\n"} {
		if err := replaceSection(file, text); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if want := "before\n" + sectionBegin + "\n" + text + sectionEnd + "after\n"; err != nil || string(b) != want {
			t.Errorf("%q, %v; want %q", b, err, want)
		}
	}
	write("no place\n" + sectionBegin)
	if err := replaceSection(file, "x"); err == nil || !strings.Contains(err.Error(), "no place") {
		t.Errorf("error %v", err)
	}
}
