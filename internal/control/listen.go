package control

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"vswitchd/internal/rundir"
	"vswitchd/internal/unixsock"
)

// Access is the owner and the mode of the control socket.
type Access = unixsock.Access

// Listen makes the control socket, in a directory that exists or is rundir.Default. Package
// unixsock documents the treatment of an existing file, and the errors. Closing the listener
// removes the socket, unless another file has replaced it.
//
// Listen waits while another process is making the same socket, until ctx is done.
func Listen(ctx context.Context, path string, access Access) (net.Listener, error) {
	if err := rundir.Make(path); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := unixsock.Listen(ctx, path, unix.SOMAXCONN, access)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return netListener(l, path)
}

// Resume returns the listener of another process, of which h is the handle (unixsock.HandleOf).
func Resume(h unixsock.Handle) (net.Listener, error) {
	l, err := unixsock.Resume(h)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return netListener(l, h.Path)
}

func netListener(l *unixsock.Listener, path string) (net.Listener, error) {
	nl, err := l.NetListener()
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("control socket: %s: %w", path, err)
	}
	return nl, nil
}
