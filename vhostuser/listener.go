package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"vswitchd/internal/unixsock"
)

// MaxSocketPath is the longest path of a unix socket in bytes (unix(7): 108 with the
// terminating zero).
const MaxSocketPath = unixsock.MaxPath

var (
	// ErrPathTooLong: a socket's path has more than MaxSocketPath bytes.
	ErrPathTooLong = unixsock.ErrPathTooLong

	// ErrSocketInUse: another process is listening on the socket.
	ErrSocketInUse = unixsock.ErrInUse

	// ErrNotSocket: something that is not a socket has the socket's name.
	ErrNotSocket = unixsock.ErrNotSocket
)

// backlog is the number of front-ends that can wait for the connected one to disconnect.
const backlog = 8

// ListenOptions are the attributes of a listening socket's file.
type ListenOptions struct {
	Mode     fs.FileMode // permissions; 0: 0600
	Chown    bool        // change the owner to UID and GID
	UID, GID int         // -1: unchanged
}

func (o ListenOptions) access() unixsock.Access {
	a := unixsock.Access{UID: -1, GID: -1, Mode: o.Mode}
	if o.Chown {
		a.UID, a.GID = o.UID, o.GID
	}
	if a.Mode == 0 {
		a.Mode = 0o600
	}
	return a
}

// Listener is a listening unix socket, for front-ends that connect to the back-end (QEMU's chardev
// without server=on).
type Listener struct{ sock *unixsock.Listener }

// Listen makes a listening socket at path, and its directory if it is missing (mode 0755, less
// the umask). A stale socket, which a killed process has left, is replaced. Of several processes
// that want the same socket at the same time one gets it: a socket that another process is making
// is not replaced.
func Listen(path string, o ListenOptions) (*Listener, error) {
	return ListenContext(context.Background(), path, o)
}

// ListenContext is Listen, but stops waiting for other processes that are making the same socket
// when ctx is done.
func ListenContext(ctx context.Context, path string, o ListenOptions) (*Listener, error) {
	if len(path) > MaxSocketPath { // before its directory is made
		return nil, fmt.Errorf("%s: %w", path, ErrPathTooLong)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the socket's directory: %w", err)
	}
	sock, err := unixsock.Listen(ctx, path, backlog, o.access())
	if err != nil {
		return nil, err
	}
	return &Listener{sock}, nil
}

// SetAccess changes the owner and the permissions of the socket's file, and returns the previous
// ones, for restoring them by another call. After an error the file is unchanged.
func (l *Listener) SetAccess(o ListenOptions) (was ListenOptions, err error) {
	a, err := l.sock.SetAccess(o.access())
	if err != nil {
		return ListenOptions{}, err
	}
	return ListenOptions{Mode: a.Mode, Chown: true, UID: a.UID, GID: a.GID}, nil
}

// Handle describes the socket for another process, which goes on by ResumeListener.
func (l *Listener) Handle() unixsock.Handle { return l.sock.Handle() }

// Own makes Close remove the file of a Listener from ResumeListener.
func (l *Listener) Own() { l.sock.Own() }

// ResumeListener returns a Listener that goes on for one of another process. It takes ownership of
// the descriptor. The socket's file belongs to the other process until Own is called.
func ResumeListener(h unixsock.Handle) (*Listener, error) {
	sock, err := unixsock.Resume(h)
	if err != nil {
		return nil, err
	}
	return &Listener{sock}, nil
}

// Connect waits for the next front-end, or until ctx is done.
func (l *Listener) Connect(ctx context.Context) (*net.UnixConn, error) {
	conn, err := l.sock.Accept(ctx)
	return conn, waitError(ctx, err)
}

// Wait waits until a front-end can be accepted. If ctx is done first, Wait returns its cause. Wait
// must not be called at the same time as Connect.
func (l *Listener) Wait(ctx context.Context) error {
	return waitError(ctx, l.sock.Wait(ctx))
}

// waitError adds to an error what was waited for, unless ctx ended the wait.
func waitError(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return fmt.Errorf("waiting for a front-end: %w", nameFileLimit(err))
}

// Close stops listening and removes the socket's file, unless another file has replaced it.
func (l *Listener) Close() error { return l.sock.Close() }
