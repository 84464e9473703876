package guest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

func TestResetReasons(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{vhostuser.ErrDied, "died"},
		{fmt.Errorf("sending: %w", unix.EPIPE), "died"},
		{fmt.Errorf("%w (address 0x1)", netport.ErrFault), "memory-fault"},
		{vhostuser.ErrJammed, "jammed-eventfd"},
		{&vhostuser.ProtocolError{Err: vhostuser.ErrLimit}, "over-limit"},
		{fmt.Errorf("ring 1: %w", virtqueue.ErrAvailIndex), "bad-ring"},
		{fmt.Errorf("ring 1: %w", virtqueue.ErrHead), "bad-ring"},
		{vhostuser.ErrTruncated, "truncated-message"},
		{fmt.Errorf("%w: version", vhostuser.ErrMalformed), "malformed-message"},
		{&vhostuser.ProtocolError{Err: vhostuser.ErrUnknownMessage}, "malformed-message"},
		{&vhostuser.ProtocolError{Err: vhostuser.ErrRefused}, "refused-message"},
		{&vhostuser.ProtocolError{Err: unix.ENOMEM}, "refused-message"},
		{errors.New("something"), "other"},
	} {
		if got := resetReason(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

// Kind.Reasons lists every name under which a reset can be counted.
func TestReasonsAreComplete(t *testing.T) {
	names := Kind{}.Reasons().Resets
	errs := []error{errors.New("something else"), vhostuser.ErrRefused, &vhostuser.ProtocolError{}}
	for _, r := range resetReasons {
		errs = append(errs, r.is)
	}
	for _, err := range errs {
		if name := resetReason(err); !slices.Contains(names, name) {
			t.Errorf("%q, of %v, is missing", name, err)
		}
	}
}
