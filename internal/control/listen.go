package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"vswitchd/internal/lockfile"
	"vswitchd/internal/rundir"
	"vswitchd/internal/usage"
)

// ErrInUse says that another process listens on the socket.
var ErrInUse = errors.New("another process is listening there")

// Access is who may open the control socket.
type Access struct {
	UID, GID int         // -1: as the process has it
	Mode     fs.FileMode // permission bits
}

// Listen makes the control socket, in a directory that exists or is rundir.Default. A socket that
// nobody listens on any more, because the process was killed, is replaced;
// one in use is left alone and makes the error ErrInUse; anything else of that
// name is left alone as well. Closing the listener removes the socket, unless
// somebody has put another one into its place.
//
// Listen waits while another process is making the same socket, but not longer than until ctx
// is done.
func Listen(ctx context.Context, path string, access Access) (net.Listener, error) {
	if err := rundir.Make(path); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// Nobody may replace a socket that another one is just making.
	unlock, err := lockfile.Lock(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	// bind(2) gives the file the mode of the socket, less the umask: nobody
	// else can connect before owner and mode are what they should be.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if err2 := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0) }); err2 != nil {
			return err2
		}
		return err
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, usage.Reason(err))
	}
	ul := l.(*net.UnixListener)
	ul.SetUnlinkOnClose(false)
	made, err := admit(path, access)
	if err != nil {
		ul.Close()
		os.Remove(path)
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &listener{UnixListener: ul, path: path, made: made}, nil
}

// removeStale removes a socket that nobody listens on.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file of that name that is no socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		c.Close()
		return ErrInUse
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, syscall.EAGAIN): // its backlog is full
		return ErrInUse
	}
	return err
}

// admit gives the socket its owner and mode, and returns which file it is.
func admit(path string, access Access) (fs.FileInfo, error) {
	if access.UID >= 0 || access.GID >= 0 {
		if err := os.Lchown(path, access.UID, access.GID); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(path, access.Mode); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

type listener struct {
	*net.UnixListener
	path string
	made fs.FileInfo
	once sync.Once
}

// Close removes the socket, if it still is the one that was made.
func (l *listener) Close() error {
	l.once.Do(func() {
		if fi, err := os.Lstat(l.path); err == nil && os.SameFile(fi, l.made) {
			os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}
