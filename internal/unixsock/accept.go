package unixsock

import (
	"cmp"
	"context"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Accept waits for the next connection. When ctx is done, it returns the cause of ctx. Only one
// goroutine at a time may call it.
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

// Wait waits until a connection is pending, without accepting it. When ctx is done, it returns the
// cause of ctx. It must not be called at the same time as Accept.
func (l *Listener) Wait(ctx context.Context) error {
	return l.await(ctx, func(int) error { return nil })
}

// await calls do with the listening socket whenever a connection is pending, until do returns
// neither EAGAIN nor EINTR.
//
// A socket that was passed to this process shares its file description with the process that passed
// it, which can make the socket blocking. accept4 could then block, and ctx could not interrupt it.
// Therefore do is called only after poll(2) has reported a pending connection.
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
		// ctx is done. Clear the deadline, once it has been set, so that later calls work.
		<-expired
		_ = l.file.SetReadDeadline(time.Time{})
		return context.Cause(ctx)
	}
	return cmp.Or(werr, err)
}
