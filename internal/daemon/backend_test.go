package daemon

import (
	"slices"
	"testing"

	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// The backend lists every name under which drops or resets can be counted exactly once, for every
// kind of port.
func TestDropReasonsAreComplete(t *testing.T) {
	var c vswitch.Counters
	for r := vswitch.DropReason(0); r.String() != "unknown"; r++ {
		c.Drop(r, 1)
	}
	for _, kind := range Kinds() {
		r := backend{&Daemon{kinds: allKinds()}}.Reasons(control.Kind(kind.Name))
		for name := range c.DropsByName() {
			if !slices.Contains(r.Drops, name) {
				t.Errorf("%s: %q is missing", kind.Name, name)
			}
		}
		for _, own := range [][]string{allKinds().named(kind.Name).Reasons().Drops, allKinds().named(kind.Name).Reasons().Resets} {
			for _, name := range own {
				if !slices.Contains(r.Drops, name) && !slices.Contains(r.Resets, name) {
					t.Errorf("%s: %q is missing", kind.Name, name)
				}
			}
		}
		for _, names := range [][]string{r.Drops, r.Resets} {
			if sorted := slices.Sorted(slices.Values(names)); len(slices.Compact(sorted)) != len(names) {
				t.Errorf("%s: a name is there twice: %v", kind.Name, names)
			}
		}
	}
}
