package vswitch_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// The host's addresses are listed for their port, but are not part of its configuration. An address
// that is pinned to a guest is left out, and the error names the address.
func TestLocalAddressesOfAPort(t *testing.T) {
	own, guests, other := vswitchtest.Station(0x40), vswitchtest.Station(0x41), vswitchtest.Station(0x42)
	l := newLab(t, vswitch.Config{})
	up := l.add("up")
	l.add("vm", pinned(guests))
	err := up.SetLocal([]vswitch.MAC{own, guests}, []vswitch.MAC{other})
	if !errors.Is(err, vswitch.ErrAddressPinned) || !strings.Contains(err.Error(), guests.String()) {
		t.Errorf("got %v", err)
	}
	if got := up.Info().Local; !slices.Equal(got, []vswitch.MAC{own, other}) {
		t.Errorf("the host has %v", got)
	}
	if macs := up.Config().MACs; len(macs) != 0 {
		t.Errorf("the configuration has the addresses %v", macs)
	}
}
