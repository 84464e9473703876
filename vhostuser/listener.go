package vhostuser

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/internal/lockfile"
)

// MaxSocketPath is the longest path of a unix socket in bytes (unix(7): 108 with
// the terminating zero).
const MaxSocketPath = 107

var (
	// ErrPathTooLong: a socket's path has more than MaxSocketPath bytes.
	ErrPathTooLong = fmt.Errorf("socket path is longer than %d bytes", MaxSocketPath)

	// ErrSocketInUse: another process is listening on the socket.
	ErrSocketInUse = errors.New("socket is in use by another process")

	// ErrNotSocket: something that is not a socket has the socket's name.
	ErrNotSocket = errors.New("exists and is not a socket")
)

// ListenOptions say what a listening socket's file is like.
type ListenOptions struct {
	Mode     fs.FileMode // permissions; 0: 0600
	Chown    bool        // give it to UID and GID
	UID, GID int         // -1: leave as it is
}

// Listener is a listening unix socket: the back-end's end when the front-end is
// the one to connect (QEMU's chardev without server=on).
type Listener struct {
	file *os.File        // the socket, which Go's poller knows
	raw  syscall.RawConn // of file
	path string          // "" if the socket's file is not ours to remove
	id   fileID          // of the socket's file
}

// Listen makes a listening socket at path, and its directory if it is missing
// (mode 0755, less the umask). A socket that nobody listens on any more, as a
// process that was killed leaves it, is replaced. Of several processes that want the
// same socket at the same time one gets it: nobody replaces a socket that
// another one is just making.
func Listen(path string, o ListenOptions) (*Listener, error) {
	return ListenContext(context.Background(), path, o)
}

// ListenContext is Listen, and stops waiting for other processes that are making the same
// socket when ctx is done.
func ListenContext(ctx context.Context, path string, o ListenOptions) (*Listener, error) {
	if len(path) > MaxSocketPath {
		return nil, fmt.Errorf("%s: %w", path, ErrPathTooLong)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the socket's directory: %w", err)
	}
	unlock, err := lockfile.Lock(ctx, path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l, err := listen(path, o)
	if errors.Is(err, unix.EADDRINUSE) {
		err = ErrSocketInUse // somebody was quicker
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// removeStale removes the socket at path if nobody listens on it.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode().Type() != fs.ModeSocket:
		return ErrNotSocket
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer closeFD(fd)
	// Only this one answer says that nobody is there. A full backlog, or a
	// socket that we may not connect to, has a process behind it.
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	if !errors.Is(err, unix.ECONNREFUSED) {
		return ErrSocketInUse
	}
	return os.Remove(path)
}

// listen makes the socket in an order in which nobody can connect to it before
// it has its owner and mode: it is bound without any permissions, and
// refuses connections until listen.
func listen(path string, o ListenOptions) (_ *Listener, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			closeFD(fd)
		}
	}()
	// The file that bind makes inherits the mode of the socket.
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
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, err
	}
	if err := admit(path, o); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, 8); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return newListener(fd, path, fileID{st.Dev, st.Ino}), nil
}

// newListener makes a Listener of a listening socket, which belongs to the Listener from then on.
func newListener(fd int, path string, id fileID) *Listener {
	_ = unix.SetNonblock(fd, true) // or Go's poller leaves the descriptor alone
	f := os.NewFile(uintptr(fd), "listening socket")
	raw, err := f.SyscallConn()
	if err != nil {
		panic(err) // f is nil
	}
	return &Listener{file: f, raw: raw, path: path, id: id}
}

// SetAccess gives the socket's file another owner and other permissions, of which it returns the
// present ones, for another call. What it cannot do, it leaves as it was.
func (l *Listener) SetAccess(o ListenOptions) (was ListenOptions, err error) {
	if l.path == "" {
		return ListenOptions{}, errors.New("the socket was passed in")
	}
	var st unix.Stat_t
	if err := unix.Lstat(l.path, &st); err != nil {
		return ListenOptions{}, fmt.Errorf("%s: %w", l.path, err)
	}
	if l.id != (fileID{st.Dev, st.Ino}) {
		return ListenOptions{}, fmt.Errorf("%s: %w", l.path, errReplaced)
	}
	was = ListenOptions{Mode: fs.FileMode(st.Mode).Perm(), Chown: true, UID: int(st.Uid), GID: int(st.Gid)}
	if err := admit(l.path, o); err != nil {
		_ = admit(l.path, was)
		return ListenOptions{}, err
	}
	return was, nil
}

// errReplaced: somebody has put another file into the place of a socket.
var errReplaced = errors.New("is not the socket that was made here")

// admit sets owner and permissions of a socket's file.
func admit(path string, o ListenOptions) error {
	if o.Chown {
		if err := os.Lchown(path, o.UID, o.GID); err != nil {
			return err
		}
	}
	mode := o.Mode
	if mode == 0 {
		mode = 0o600
	}
	return os.Chmod(path, mode.Perm())
}

// Connect waits for the next front-end, or until ctx is done.
func (l *Listener) Connect(ctx context.Context) (*net.UnixConn, error) {
	fd := -1
	err := l.await(ctx, func(listening int) error {
		var err error
		fd, _, err = unix.Accept4(listening, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return err
	})
	if err != nil {
		closeFD(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "front-end")
	defer f.Close() // package net duplicates it
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("accepting a front-end: %w", nameFileLimit(err))
	}
	return conn.(*net.UnixConn), nil
}

// Wait waits until a front-end waits to be accepted, or until ctx is done, whose cause it then
// returns. It must not be called at the same time as Connect.
func (l *Listener) Wait(ctx context.Context) error {
	return l.await(ctx, func(int) error { return nil })
}

// await calls do with the listening socket when a front-end is waiting, until do returns something
// else than EAGAIN.
//
// The file description of a socket that was passed to this process is shared with whoever passed
// the socket, and can be made blocking. Then accept would wait where ctx cannot end it. So do is
// not called before somebody is there to be accepted.
func (l *Listener) await(ctx context.Context, do func(fd int) error) (err error) {
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = l.file.SetReadDeadline(time.Unix(1, 0))
		close(expired)
	})
	werr := l.raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, perr := unix.Poll(p, 0); perr != nil || n == 0 {
			return false
		}
		err = do(int(fd))
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if !stop() {
		// ctx ended. Leave the socket usable for a later call, once the deadline is set.
		<-expired
		_ = l.file.SetReadDeadline(time.Time{})
		return context.Cause(ctx)
	}
	if err = cmp.Or(werr, err); err != nil {
		return fmt.Errorf("waiting for a front-end: %w", nameFileLimit(err))
	}
	return nil
}

// Close stops listening and removes the socket's file, if it is still the one
// that Listen made.
func (l *Listener) Close() error {
	if l.path != "" {
		var st unix.Stat_t
		if err := unix.Lstat(l.path, &st); err == nil && l.id == (fileID{st.Dev, st.Ino}) {
			_ = os.Remove(l.path)
		}
	}
	return l.file.Close()
}
