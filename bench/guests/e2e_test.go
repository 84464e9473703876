//go:build e2e

package guests

import (
	"path/filepath"
	"testing"
	"time"

	"vswitchd/bench/peer"
	"vswitchd/test/vm"
)

// Guests talk in either network, and what is measured makes sense.
func TestMeasure(t *testing.T) {
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	lab, err := peer.NewLab(filepath.Join(root, "build"), peer.AnyCPU)
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	v, err := startVswitchd(lab)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	b, err := makeBridge()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	r, err := measure(t.Context(), []*network{v, b}, devices[:1], 1, time.Second, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.values) != 2*len(traffics) {
		t.Errorf("%d kinds of results", len(r.values))
	}
	for k, all := range r.values {
		for _, v := range all {
			if v.mbits <= 0 || v.outside <= 0 || v.guests <= 0 {
				t.Errorf("%s, %s, %s: %+v", k.network.name, k.traffic, k.device.name, v)
			}
		}
	}
	t.Log(r.markdown())
}
