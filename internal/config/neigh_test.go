package config_test

import "testing"

// Neighbors that no port uses cause a warning at the first of them.
func TestNeighborsWithoutEffect(t *testing.T) {
	const neighbors = "[[neigh]]\nip = \"10.0.0.1\"\nmac = \"52:54:00:00:00:01\"\n[[neigh]]\nip = \"10.0.0.2\"\nmac = \"52:54:00:00:00:02\"\n"
	for _, tt := range []struct{ doc, warning string }{
		{"[port.a]\n" + neighbors, "f:2: neigh[0]: has no effect: no port has neigh_suppress"},
		{"[port.a]\n[port.b]\nneigh_suppress = true\n" + neighbors, ""},
		{"[port.a]\n", ""},
	} {
		cfg, errs := kinds.Parse("f", []byte(tt.doc))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if got := cfg.Warnings.Error(); got != tt.warning {
			t.Errorf("%q: warnings %q, want %q", tt.doc, got, tt.warning)
		}
	}
}
