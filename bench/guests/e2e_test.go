//go:build e2e

package guests

import (
	"path/filepath"
	"testing"
	"time"

	"vswitchd/bench/peer"
	"vswitchd/test/vm"
)

// Guests talk in either network, by every route, and what is measured makes sense.
func TestMeasure(t *testing.T) {
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	lab, err := peer.NewLab(filepath.Join(root, "build"), peer.AnyCPU)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}()
	networks, err := makeNetworks(lab)
	defer func() {
		if err := closeNetworks(networks); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	chosen := []scenario{
		{tcp, guestToGuest, devices[0]},
		{slow, uplinkToGuest, devices[0]},
		{slow, guestToUplink, devices[0]},
	}
	r, err := measure(t.Context(), networks, chosen, 1, time.Second, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.values) != len(networks)*len(chosen) {
		t.Errorf("%d kinds of results", len(r.values))
	}
	for k, all := range r.values {
		for _, v := range all {
			if v.mbits <= 0 || v.outside <= 0 || v.guests <= 0 || v.outsideLoad <= 0 || v.guestsLoad <= 0 {
				t.Errorf("%s, %s: %+v", k.network.name, k.name, v)
			}
		}
	}
	t.Log(r.markdown())
}
