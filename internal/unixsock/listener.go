package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	_ "vswitchd/internal/platform/linux"
)

// MaxPath is the longest path of a unix socket in bytes (unix(7): 108 with the terminating zero).
const MaxPath = 107

var (
	// ErrPathTooLong: a socket's path has more than MaxPath bytes.
	ErrPathTooLong = fmt.Errorf("socket path is longer than %d bytes", MaxPath)

	// ErrInUse: another process has the socket.
	ErrInUse = errors.New("socket is in use by another process")

	// ErrNotSocket: a file that is not a socket has the socket's name.
	ErrNotSocket = errors.New("exists and is not a socket")
)

// A Listener is a listening unix socket.
type Listener struct {
	file *os.File        // the socket, in Go's poller
	raw  syscall.RawConn // of file
	path string          // "" if the socket's file belongs to another process
	made fileID          // the file that Listen made
	once sync.Once       // removes the file: the inode's number may be reused afterwards
}

// fileID identifies a file, whatever its name.
type fileID struct{ dev, ino uint64 }

// Listen makes a listening socket at path, in a directory that exists. backlog is how many
// connections can wait to be accepted.
//
// A socket that nobody listens on any more, as a process that was killed leaves it, is replaced. A
// socket in use (ErrInUse) and a file that is not a socket (ErrNotSocket) are left alone. Of
// several processes that want the same path at the same time, one gets it and the others get
// ErrInUse. Listen waits while another process is making a socket at path, until ctx is done at
// the latest.
//
// All errors name the path.
func Listen(ctx context.Context, path string, backlog int, a Access) (*Listener, error) {
	if len(path) > MaxPath {
		return nil, fmt.Errorf("%s: %w", path, ErrPathTooLong)
	}
	unlock, err := Lock(ctx, path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l, err := listen(path, backlog, a)
	if errors.Is(err, unix.EADDRINUSE) {
		err = ErrInUse // by a process that knows nothing of the lock
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// Adopt returns a Listener of a listening socket that was passed to this process. The descriptor
// belongs to the Listener from then on; the socket's file does not.
func Adopt(fd int) *Listener { return newListener(fd, "", fileID{}) }

// removeStale removes the socket at path if nobody listens on it.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return reason(err)
	case fi.Mode().Type() != fs.ModeSocket:
		return ErrNotSocket
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	// Only this one answer says that nobody is there. A full backlog, or a socket that this process
	// may not connect to, has a process behind it.
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	if !errors.Is(err, unix.ECONNREFUSED) {
		return ErrInUse
	}
	return reason(os.Remove(path))
}

// listen makes the socket in an order in which nobody can connect to it before it has its owner and
// mode: it is bound without any permissions, and refuses connections until listen(2).
func listen(path string, backlog int, a Access) (_ *Listener, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	// The file that bind(2) makes inherits the mode of the socket.
	if err := unix.Fchmod(fd, 0); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	st, err := stat(path)
	if err != nil {
		return nil, err
	}
	if err := admit(path, a); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return newListener(fd, path, idOf(st)), nil
}

func newListener(fd int, path string, made fileID) *Listener {
	_ = unix.SetNonblock(fd, true) // or Go's poller leaves the descriptor alone
	f := os.NewFile(uintptr(fd), "listening socket")
	raw, err := f.SyscallConn()
	if err != nil {
		panic(err) // f is nil
	}
	return &Listener{file: f, raw: raw, path: path, made: made}
}

// Close stops listening and removes the socket's file if Listen has made that file.
func (l *Listener) Close() error {
	l.remove()
	return l.file.Close()
}

func (l *Listener) remove() {
	l.once.Do(func() {
		if l.isOurs() == nil {
			_ = os.Remove(l.path)
		}
	})
}

// NetListener turns l into a net.Listener, for servers that want one, whose Close is that of l. The
// descriptor of l is closed.
func (l *Listener) NetListener() (net.Listener, error) {
	nl, err := net.FileListener(l.file) // has a duplicate of the descriptor
	if err != nil {
		return nil, err
	}
	return &netListener{nl, l}, l.file.Close()
}

type netListener struct {
	net.Listener
	of *Listener
}

// Close implements net.Listener.
func (n *netListener) Close() error {
	n.of.remove()
	return n.Listener.Close()
}
