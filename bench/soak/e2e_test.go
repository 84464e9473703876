//go:build e2e

package soak

import (
	"path/filepath"
	"testing"
	"time"

	"vswitchd/bench/peer"
	"vswitchd/test/vm"
)

// A few seconds of what the command does for hours.
func TestSoak(t *testing.T) {
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	lab, err := peer.NewLab(filepath.Join(root, "build"), peer.AnyCPU)
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	s, err := soakFor(lab, 2, 0, 200*time.Millisecond, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if s.rounds != len(kinds)+1 || s.received == 0 {
		t.Errorf("%+v", s)
	}
	t.Logf("%d frames in, %d out, %d dropped; %v", s.sent, s.received, s.dropped, s.now)
}
