package daemon

import (
	"errors"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
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
	{vhostuser.ErrJammed, "jammed-eventfd"},
	{vhostuser.ErrLimit, "over-limit"},
	{virtqueue.ErrAvailIndex, "bad-ring"},
	{virtqueue.ErrHead, "bad-ring"},
	{vhostuser.ErrTruncated, "truncated-message"},
	{vhostuser.ErrMalformed, "malformed-message"},
	{vhostuser.ErrUnknownMessage, "malformed-message"},
}

func resetReason(err error) string {
	for _, r := range resetReasons {
		if errors.Is(err, r.is) {
			return r.name
		}
	}
	var pe *vhostuser.ProtocolError
	if errors.As(err, &pe) || errors.Is(err, vhostuser.ErrRefused) {
		return "refused-message"
	}
	return "other"
}
