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

// left tells whether a session that ended with err ended in order.
func left(err error) bool {
	return errors.Is(err, vhostuser.ErrDisconnected) && !errors.Is(err, vhostuser.ErrDied) || errors.Is(err, errClosing)
}

// resetReasons are the names under which resets are counted, by the error that a
// session ended with. The first that fits counts.
var resetReasons = []struct {
	is   error
	name string
}{
	{vhostuser.ErrDied, "died"},
	{unix.EPIPE, "died"}, // it has not waited for a reply
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

// Names under which resets are counted that have none of the errors above.
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
