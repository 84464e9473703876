package hostport

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A lock keeps other processes from taking over a host port that this process serves: both would
// receive every frame of the host. A lock is a listening socket with an abstract name (unix(7)), of
// which there is one in each network namespace, as of interfaces, and which goes when its process
// does, however that ends.
type lock struct{ fd int }

// lockName is the abstract name of a port's lock.
func lockName(name string) string { return "@vswitchd-host-port/" + name }

// takeLock takes the lock of a port, or says which process has it. Names of this kind are free to
// all users; a process of another user than root or this one cannot serve the port and is ignored.
func takeLock(name string) (*lock, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("making a lock: %w", err)
	}
	l := &lock{fd}
	addr := &unix.SockaddrUnix{Name: lockName(name)}
	err = unix.Bind(fd, addr)
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err == nil {
		return l, nil
	}
	defer l.release()
	if !errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("locking host port %s: %w", name, err)
	}
	cred, err := owner(addr)
	if err != nil {
		return nil, fmt.Errorf("host port %s belongs to another process (%w)", name, err)
	}
	if uid := int(cred.Uid); uid != 0 && uid != os.Geteuid() {
		return &lock{-1}, nil
	}
	return nil, fmt.Errorf("host port %s belongs to another process, %d", name, cred.Pid)
}

// owner says who listens on a socket.
func owner(addr unix.Sockaddr) (*unix.Ucred, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, addr); err != nil {
		return nil, err
	}
	return unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
}

func (l *lock) release() {
	if l.fd >= 0 {
		_ = unix.Close(l.fd)
	}
}
