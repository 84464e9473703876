package daemon

import (
	"errors"
	"slices"
	"testing"

	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
)

// Every name that can be counted under is one of those that the backend says there are.
func TestReasonsAreComplete(t *testing.T) {
	guest, uplink := backend{}.Reasons(control.KindGuest), backend{}.Reasons(control.KindUplink)
	errs := []error{errors.New("something else"), vhostuser.ErrRefused, &vhostuser.ProtocolError{}}
	for _, r := range resetReasons {
		errs = append(errs, r.is)
	}
	for _, err := range errs {
		if name := resetReason(err); !slices.Contains(guest.Resets, name) {
			t.Errorf("%q, of %v, is missing", name, err)
		}
	}
	var c vswitch.Counters
	for r := vswitch.DropReason(0); r.String() != "unknown"; r++ {
		c.Drop(r, 1)
	}
	for name := range c.DropsByName() {
		if !slices.Contains(guest.Drops, name) || !slices.Contains(uplink.Drops, name) {
			t.Errorf("%q is missing", name)
		}
	}
	if !slices.Contains(uplink.Drops, dropKernelRing) || len(uplink.Resets) > 0 {
		t.Errorf("uplink: %+v", uplink)
	}
	for _, names := range [][]string{guest.Drops, guest.Resets, uplink.Drops} {
		if sorted := slices.Sorted(slices.Values(names)); len(slices.Compact(sorted)) != len(names) {
			t.Errorf("a name is there twice: %v", names)
		}
	}
}
