package vhostuser

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A relay forwards signals for the driver by another way than the front-end's eventfd. The device
// signals an eventfd that was made here, and a goroutine reads its counter. So a relay costs the
// data plane nothing, and the front-end cannot make the data plane wait.
type relay struct {
	f    *os.File // the eventfd
	done chan struct{}
}

// newRelay starts a relay that calls pass, which must not wait, for one or more signals. The caller
// owns the returned eventfd, which the device signals.
func newRelay(pass func()) (eventfd int, r *relay, err error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, nil, fmt.Errorf("eventfd: %w", nameFileLimit(err))
	}
	if r, err = relayFrom(fd, pass); err != nil {
		closeFD(fd)
		return -1, nil, err
	}
	return fd, r, nil
}

// relayFrom starts a relay of the signals of an eventfd that was made by newRelay, maybe in another
// process. The caller keeps the eventfd.
func relayFrom(fd int, pass func()) (*relay, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", nameFileLimit(err))
	}
	r := &relay{f: os.NewFile(uintptr(own), "calls"), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		buf := make([]byte, 8)
		for {
			if _, err := r.f.Read(buf); err != nil {
				return
			}
			pass()
		}
	}()
	return r, nil
}

// end ends the relay. After it returns, pass is not called any more.
func (r *relay) end() {
	_ = r.f.Close()
	<-r.done
}

// endRelay ends the relay of vring i, if it has one.
func (s *Session) endRelay(i int) {
	if r := s.relays[i]; r != nil {
		r.end()
		s.relays[i] = nil
	}
}

// isStreamSocket reports whether fd is a unix stream socket.
func isStreamSocket(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_UNIX {
		return false
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kind == unix.SOCK_STREAM
}

// sendSignals returns a function that sends a signal on a unix stream socket: the bytes that would
// be written to an eventfd, the number 1 in 64 bits. If the socket has no room, there are signals
// that the driver has not read yet.
//
// With MSG_DONTWAIT the call does not wait for the peer, whatever the mode of the shared file
// description: a sender takes none of the locks that the peer can hold while it reads (and
// waits in a page fault, for example).
func sendSignals(socket int) func() {
	one := AppendU64(nil, 1)
	return func() { _ = unix.Sendto(socket, one, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) }
}
