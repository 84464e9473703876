package soak

import "testing"

func TestGrown(t *testing.T) {
	was := resources{memory: 50_000, goroutines: 20, fds: 30}
	for _, r := range []resources{was, {50_000 + slack, 20, 30}, {1000, 1, 1}} {
		if r.grown(was) {
			t.Errorf("%v is more than %v", r, was)
		}
	}
	for _, r := range []resources{{50_001 + slack, 20, 30}, {50_000, 21, 30}, {50_000, 20, 31}} {
		if !r.grown(was) {
			t.Errorf("%v is not more than %v", r, was)
		}
	}
}
