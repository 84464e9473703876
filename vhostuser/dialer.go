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

// Connector is where sessions come from: a Listener, a Dialer or an Inherited
// socket.
type Connector interface {
	// Connect waits for the next connection, or until ctx is done, whose
	// cause it then returns. It is not called by two goroutines at once.
	Connect(ctx context.Context) (*net.UnixConn, error)
	Close() error
}

// A Dialer connects to a front-end that listens (QEMU's chardev with server=on),
// as often as it takes.
type Dialer struct {
	Path string

	// MinWait and MaxWait limit the time between two attempts, which doubles
	// while they fail. 0: 100 ms and 3 s.
	MinWait, MaxWait time.Duration

	next time.Time // no attempt before that
}

// Connect tries until it has a connection or ctx is done. A front-end that
// accepts connections and drops them at once does not make it spin: the
// next attempt is never sooner than MinWait after this one.
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

// Close does nothing: a Dialer has nothing open.
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

// ErrOnlyConnection: an inherited connection has ended, and there cannot be
// another.
var ErrOnlyConnection = errors.New("the connection that was passed in is over")

// Inherit takes over a socket that the process was started with ("--fd=FDNUM: the
// back-end program is started with the vhost-user socket as file descriptor
// FDNUM"). Both a listening socket and a connected one are in use; fd may be
// either, and belongs to the Connector from then on.
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
	defer f.Close() // what goes on has a duplicate
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
		// Whoever made the socket's file removes the file: we do not remove that of a socket that
		// was passed in.
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

// inherited is a connection that was there when the process started.
type inherited struct {
	conn *net.UnixConn // nil once it has been given out
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
