package daemon

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

// errDied is why a session ended without a word. A front-end that leaves in order
// stops its rings first (GET_VRING_BASE).
var errDied = errors.New("front-end disconnected while its rings were running")

// resetReasons are the names under which resets are counted, by the error that a
// session ended with. The first that fits counts.
var resetReasons = []struct {
	is   error
	name string
}{
	{errDied, "died"},
	{unix.EPIPE, "died"}, // it has not waited for a reply
	{unix.ECONNRESET, "died"},
	{netport.ErrFault, "memory-fault"},
	{vhostuser.ErrJammed, "jammed-eventfd"},
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

// A device is a port's network device in one session. It notes whether rings had to
// be stopped because the front-end had gone.
type device struct {
	*netport.Port
	conn *net.UnixConn
	died bool // the session's goroutine writes it
}

// RingStopped implements vhostuser.Device.
func (d *device) RingStopped(index int) {
	d.Port.RingStopped(index)
	d.died = d.died || hungUp(d.conn)
}

// hungUp tells whether the other end of a connection is closed.
func hungUp(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false // closed on our side
	}
	hup := false
	_ = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		hup = err == nil && n > 0
	})
	return hup
}
