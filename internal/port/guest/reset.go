package guest

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/loop"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

// orderly reports whether err is an orderly end of a session: the front-end closed the connection,
// or the port is being closed.
func orderly(err error) bool {
	return errors.Is(err, vhostuser.ErrDisconnected) && !errors.Is(err, vhostuser.ErrDied) || errors.Is(err, errClosing)
}

// resetReasons maps the error that ended a session to the name under which the reset is counted.
// The first match counts.
var resetReasons = []struct {
	is   error
	name string
}{
	{vhostuser.ErrDied, "died"},
	{unix.EPIPE, "died"}, // the front-end died before it read a reply
	{unix.ECONNRESET, "died"},
	{netport.ErrFault, "memory-fault"},
	{loop.ErrMemoryGone, "memory-fault"},
	{vhostuser.ErrJammed, "jammed-eventfd"},
	{vhostuser.ErrHung, "hung-call"},
	{vhostuser.ErrLimit, "over-limit"},
	{errSilent, "silent"},
	{virtqueue.ErrAvailIndex, "bad-ring"},
	{virtqueue.ErrHead, "bad-ring"},
	{vhostuser.ErrTruncated, "truncated-message"},
	{vhostuser.ErrMalformed, "malformed-message"},
	{vhostuser.ErrUnknownMessage, "malformed-message"},
}

// Names under which resets with none of the errors above are counted.
const (
	resetRefused = "refused-message"
	resetOther   = "other"
)

// resetNames returns all names under which resets are counted.
func resetNames() (names []string) {
	for _, r := range resetReasons {
		if !slices.Contains(names, r.name) {
			names = append(names, r.name)
		}
	}
	return append(names, resetRefused, resetOther)
}

func resetReason(err error) string {
	for _, r := range resetReasons {
		if errors.Is(err, r.is) {
			return r.name
		}
	}
	var pe *vhostuser.ProtocolError
	if errors.As(err, &pe) || errors.Is(err, vhostuser.ErrRefused) {
		return resetRefused
	}
	return resetOther
}
