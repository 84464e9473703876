package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/internal/unixsock"
)

// Connector provides the connections for sessions: a Listener, a Dialer or an Inherited socket.
type Connector interface {
	// Connect waits for the next connection. If ctx is done first, Connect returns its cause.
	// Connect must not be called by two goroutines at once.
	Connect(ctx context.Context) (*net.UnixConn, error)
	Close() error
}

// A Dialer connects to a front-end that listens (QEMU's chardev with server=on), and
// reconnects each time.
type Dialer struct {
	Path string

	// MinWait and MaxWait limit the time between two attempts, which doubles while they fail.
	// 0: 100 ms and 3 s.
	MinWait, MaxWait time.Duration

	next time.Time // earliest time of the next attempt
}

// Connect tries until it has a connection or ctx is done. A front-end that accepts
// connections and drops them at once does not cause a busy loop: the next attempt is made at
// least MinWait after this one.
func (d *Dialer) Connect(ctx context.Context) (*net.UnixConn, error) {
	if len(d.Path) > MaxSocketPath {
		return nil, fmt.Errorf("%s: %w", d.Path, ErrPathTooLong)
	}
	wait, most := d.MinWait, d.MaxWait
	if wait <= 0 {
		wait = 100 * time.Millisecond
	}
	if most <= 0 {
		most = 3 * time.Second
	}
	for ; ; wait = min(2*wait, most) {
		if err := sleep(ctx, time.Until(d.next)); err != nil {
			return nil, err
		}
		d.next = time.Now().Add(wait)
		var nd net.Dialer
		conn, err := nd.DialContext(ctx, "unix", d.Path)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
	}
}

// Close does nothing: a Dialer holds nothing open.
func (d *Dialer) Close() error { return nil }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return context.Cause(ctx)
	}
}

// ErrOnlyConnection says that an inherited connection has ended, and that there cannot be another.
var ErrOnlyConnection = errors.New("the connection that was passed in has ended")

// Inherit takes over a socket that the process was started with ("--fd=FDNUM: the back-end program
// is started with the vhost-user socket as file descriptor FDNUM"). Callers pass listening sockets
// as well as connected ones; fd may be either. The Connector takes ownership of fd.
func Inherit(fd int) (Connector, error) {
	unix.CloseOnExec(fd)
	c, err := inherit(fd)
	if err != nil {
		return nil, fmt.Errorf("file descriptor %d: %w", fd, err)
	}
	return c, nil
}

// inherit takes over fd, or closes it.
func inherit(fd int) (_ Connector, err error) {
	f := os.NewFile(uintptr(fd), "vhost-user socket")
	if f == nil {
		return nil, unix.EBADF
	}
	defer f.Close() // the Connector uses a duplicate
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, err
	}
	if domain != unix.AF_UNIX {
		return nil, errors.New("not a unix socket")
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, err
	}
	if listening != 0 {
		// The file of a socket that was passed in is removed by whoever made the
		// file, not by us.
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, nameFileLimit(err)
		}
		return &Listener{unixsock.Adopt(own)}, nil
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return &inherited{conn: conn.(*net.UnixConn)}, nil
}

// inherited is a connection that existed when the process started.
type inherited struct {
	conn *net.UnixConn // nil once Connect has returned it
}

func (c *inherited) Connect(ctx context.Context) (*net.UnixConn, error) {
	conn := c.conn
	if conn == nil {
		return nil, ErrOnlyConnection
	}
	c.conn = nil
	return conn, nil
}

func (c *inherited) Close() error {
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}
