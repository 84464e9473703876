package unixsock

import (
	"cmp"
	"context"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Accept waits for the next connection, or until ctx is done, whose cause it then returns. It must
// not be called by two goroutines at once.
func (l *Listener) Accept(ctx context.Context) (*net.UnixConn, error) {
	fd := -1
	err := l.await(ctx, func(listening int) error {
		var err error
		fd, _, err = unix.Accept4(listening, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return err
	})
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close() // package net duplicates it
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// Wait waits until a connection waits to be accepted, or until ctx is done, whose cause it then
// returns. It must not be called at the same time as Accept.
func (l *Listener) Wait(ctx context.Context) error {
	return l.await(ctx, func(int) error { return nil })
}

// await calls do with the listening socket when a connection is waiting, until do returns something
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
	return cmp.Or(werr, err)
}
