package vswitch_test

import (
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// A batch is a flood if there are many copies for each of its frames, whatever the reason.
func TestBatchesThatAreFloods(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
	broadcast := vswitch.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	l.send("b", ether(vswitchtest.Station(9), vswitchtest.Station(1), "hello"))
	to := func(dst vswitch.MAC, n int) (frames [][]byte) {
		for range n {
			frames = append(frames, ether(dst, vswitchtest.Station(0), "x"))
		}
		return frames
	}
	for _, tt := range []struct {
		name   string
		frames [][]byte
		want   bool
	}{
		{"broadcasts", to(broadcast, 64), true},
		{"one broadcast", to(broadcast, 1), true},
		{"to an unknown address", to(vswitchtest.Station(7), 5), true},
		{"to a known address", to(vswitchtest.Station(1), 64), false},
		{"a broadcast among others", append(to(broadcast, 1), to(vswitchtest.Station(1), 9)...), false},
		{"mostly broadcasts", append(to(broadcast, 9), to(vswitchtest.Station(1), 1)...), true},
	} {
		l.send("a", tt.frames...)
		if got := l.ports["a"].in.Flooding(); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
