package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	_ "vswitchd/internal/platform/linux"
)

// MaxPath is the longest path of a unix socket in bytes (unix(7): 108 with the terminating zero).
const MaxPath = 107

var (
	// ErrPathTooLong: a socket's path has more than MaxPath bytes.
	ErrPathTooLong = fmt.Errorf("socket path is longer than %d bytes", MaxPath)

	// ErrInUse: another process listens on the socket.
	ErrInUse = errors.New("socket is in use by another process")

	// ErrNotSocket: the file at the socket's path is not a socket.
	ErrNotSocket = errors.New("exists and is not a socket")
)

// A Listener is a listening unix socket.
type Listener struct {
	file *os.File        // the socket, in Go's poller
	raw  syscall.RawConn // of file
	path string          // "" if the socket was passed to this process
	made fileID          // the file that Listen made
	once sync.Once       // the file is removed only once, because its inode number may be reused

	foreign atomic.Bool // the file belongs to another process
}

// fileID identifies a file independently of its name.
type fileID struct{ dev, ino uint64 }

// Listen makes a listening socket at path, whose directory must exist. backlog is the number of
// connections that can be pending, as for listen(2).
//
// A stale socket, which a killed process leaves behind, is replaced. A socket in use (ErrInUse) and
// a file that is not a socket (ErrNotSocket) are not changed. If several processes call Listen for
// the same path at the same time, one succeeds and the others get ErrInUse. While another process
// is making a socket at path, Listen waits until ctx is done at the latest.
//
// All errors contain the path.
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
		err = ErrInUse // by a process that does not use the lock
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// Adopt returns a Listener for a listening socket that was passed to this process. The Listener
// takes ownership of the descriptor, but not of the socket's file.
func Adopt(fd int) *Listener { return newListener(fd, "", fileID{}) }

// A Handle describes a Listener for another process that takes it over.
type Handle struct {
	FD   int    `json:"fd"`
	Path string `json:"path"` // of the file that Listen has made; "" if the socket was passed in
	Dev  uint64 `json:"dev"`  // identify that file
	Ino  uint64 `json:"ino"`
}

// Handle returns what Resume needs in another process. The descriptor stays that of the Listener.
func (l *Listener) Handle() Handle {
	fd := -1
	_ = l.raw.Control(func(n uintptr) { fd = int(n) })
	return Handle{FD: fd, Path: l.path, Dev: l.made.dev, Ino: l.made.ino}
}

// Resume returns a Listener that goes on for one of another process. It takes ownership of the
// descriptor. The file belongs to the other process until Own is called.
func Resume(h Handle) (*Listener, error) {
	if on, err := unix.GetsockoptInt(h.FD, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on == 0 {
		_ = unix.Close(h.FD)
		return nil, fmt.Errorf("%s: not a listening socket", h.Path)
	}
	l := newListener(h.FD, h.Path, fileID{h.Dev, h.Ino})
	l.foreign.Store(true)
	return l, nil
}

// Own makes Close remove the file of a Listener from Resume, if that is still the file that Listen
// has made.
func (l *Listener) Own() { l.foreign.Store(false) }

// removeStale removes the socket at path if no process listens on it.
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
	// Only ECONNREFUSED proves that no process listens. With any other result, such as EAGAIN for a
	// full backlog or EACCES, a process may still be listening.
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	if !errors.Is(err, unix.ECONNREFUSED) {
		return ErrInUse
	}
	return reason(os.Remove(path))
}

// listen makes the socket such that no process can connect before owner and mode are set: the file
// has no permissions when it is bound, and the socket refuses connections until listen(2).
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
	_ = unix.SetNonblock(fd, true) // otherwise os.NewFile does not register the descriptor with Go's poller
	f := os.NewFile(uintptr(fd), "listening socket")
	raw, err := f.SyscallConn()
	if err != nil {
		panic(err) // f is nil
	}
	return &Listener{file: f, raw: raw, path: path, made: made}
}

// Close stops listening and removes the socket's file if that is still the file that Listen made.
func (l *Listener) Close() error {
	l.remove()
	return l.file.Close()
}

func (l *Listener) remove() {
	l.once.Do(func() {
		if !l.foreign.Load() && l.isOurs() == nil {
			_ = os.Remove(l.path)
		}
	})
}

// NetListener converts l into a net.Listener, for servers such as http.Server. Its Close replaces
// that of l, and also removes the socket's file. NetListener closes the descriptor of l, so l must
// not be used afterwards.
func (l *Listener) NetListener() (net.Listener, error) {
	nl, err := net.FileListener(l.file) // duplicates the descriptor
	if err != nil {
		return nil, err
	}
	return &netListener{nl, l}, l.file.Close()
}

type netListener struct {
	net.Listener
	of *Listener
}

// HandleOf returns the Handle of a listener that NetListener has made, and whether it is one.
func HandleOf(l net.Listener) (h Handle, ok bool) {
	n, ok := l.(*netListener)
	if !ok {
		return Handle{}, false
	}
	h = Handle{FD: -1, Path: n.of.path, Dev: n.of.made.dev, Ino: n.of.made.ino}
	if raw, err := n.Listener.(*net.UnixListener).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { h.FD = int(fd) })
	}
	return h, true
}

// SetDeadline makes Accept return at a time; see net.UnixListener.
func (n *netListener) SetDeadline(t time.Time) error {
	return n.Listener.(*net.UnixListener).SetDeadline(t)
}

// Own is Listener.Own for a listener that NetListener has made, and Disown is the opposite: it
// leaves the file to another process.
func Own(l net.Listener)    { setForeign(l, false) }
func Disown(l net.Listener) { setForeign(l, true) }

func setForeign(l net.Listener, foreign bool) {
	if n, ok := l.(*netListener); ok {
		n.of.foreign.Store(foreign)
	}
}

// Close implements net.Listener.
func (n *netListener) Close() error {
	n.of.remove()
	return n.Listener.Close()
}
