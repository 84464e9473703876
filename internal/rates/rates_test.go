package rates_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vswitchd/internal/control"
	"vswitchd/internal/rates"
)

// Each case has two readings, as GET /v1/switch answers, and what happened in between, as
// "vswitchctl top -j" prints it; null if nothing can be said.
func TestBetween(t *testing.T) {
	data, err := os.ReadFile("testdata/readings.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string]struct {
		First  *control.SwitchInfo
		Second control.SwitchInfo
		Want   *rates.Interval
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		tt := cases[name]
		got, ok := rates.Between(tt.First, &tt.Second)
		if ok != (tt.Want != nil) {
			t.Errorf("%s: something can be said: %v", name, ok)
			continue
		}
		if tt.Want == nil {
			continue
		}
		if diff := cmp.Diff(*tt.Want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if len(cases) < 12 {
		t.Errorf("only %d cases", len(cases))
	}
}

func TestReasonsAreInOrder(t *testing.T) {
	r := rates.Rates{Reasons: map[string]float64{"b": 1, "a": 1, "most": 5, "least": 0.5}}
	want := []rates.Reason{{"most", 5}, {"a", 1}, {"b", 1}, {"least", 0.5}}
	if diff := cmp.Diff(want, r.Top()); diff != "" {
		t.Error(diff)
	}
}
