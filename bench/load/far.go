package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vswitchd/internal/mmsg"
)

// vnetHdrLen is the length of the header that packet sockets have before a frame.
const vnetHdrLen = 10

// A Far is an interface in a network namespace, at the far end of a back-end's uplink. What it
// receives is not read by anybody while something is measured: the kernel counts it.
type Far struct {
	namespace string
	index     int
	links     *netlink.Handle
	fd        int // to send
	ear       int // to receive; -1: closed
	buf       []byte

	msgs  []mmsg.Header // of each flow
	train int           // frames in one message
	next  int
	sent  uint64
}

// OpenFar opens an interface that is up, in a namespace that has a name.
func OpenFar(namespace, iface string) (*Far, error) {
	ns, err := netns.GetFromName(namespace)
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", namespace, err)
	}
	defer ns.Close()
	f := &Far{namespace: namespace, fd: -1, ear: -1, buf: make([]byte, headerLen+1<<16)}
	if f.links, err = netlink.NewHandleAt(ns); err != nil {
		return nil, err
	}
	link, err := f.links.LinkByName(iface)
	if err == nil {
		f.index = link.Attrs().Index
		f.fd, err = f.socket(0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("interface %s of namespace %s: %w", iface, namespace, err)
	}
	return f, nil
}

// Close closes the far end.
func (f *Far) Close() {
	f.deafen()
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
	}
	f.links.Close()
}

// socketBuffer is how many bytes a socket's buffers hold, as the kernel counts them.
const socketBuffer = 32 << 20

// socket opens a packet socket for a protocol, 0 being none.
func (f *Far) socket(protocol uint16) (fd int, err error) {
	err = within(f.namespace, func() error {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return -1, err
	}
	be := binary.BigEndian.AppendUint16(nil, protocol)
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(be), Ifindex: f.index}),
	)
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// within does something on a thread that is in a network namespace.
func within(namespace string, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread goes with its namespace
		ns, err := netns.GetFromName(namespace)
		if err == nil {
			err = errors.Join(netns.Set(ns), ns.Close())
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// listen has collect see what arrives from now on.
func (f *Far) listen() (err error) {
	f.ear, err = f.socket(unix.ETH_P_ALL)
	return err
}

// deafen leaves what arrives to the kernel, which has nobody to give it to.
func (f *Far) deafen() {
	if f.ear >= 0 {
		_ = unix.Close(f.ear)
		f.ear = -1
	}
}

// collect passes what has arrived since listen to do.
func (f *Far) collect(do func(buf []byte) error) error {
	for {
		clear(f.buf[:headerLen])
		f.buf[vnetHdrLen] = 1 // num_buffers
		n, err := unix.Readv(f.ear, [][]byte{f.buf[:vnetHdrLen], f.buf[headerLen:]})
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == unix.EINTR:
			continue
		case err == nil:
			err = do(f.buf[:n+headerLen-vnetHdrLen])
		}
		if err != nil {
			return fmt.Errorf("far end: %w", err)
		}
	}
}

// arrived returns how many frames the interface has received.
func (f *Far) arrived() (uint64, error) {
	link, err := f.links.LinkByIndex(f.index)
	if err != nil {
		return 0, err
	}
	return link.Attrs().Statistics.RxPackets, nil
}

// message returns a frame as a message.
func message(m *maker, t tag) mmsg.Header {
	b := make([]byte, vnetHdrLen+m.size)
	m.header(b[:vnetHdrLen])
	m.frame(b[vnetHdrLen:], t)
	return bytesMessage(b)
}

func bytesMessage(b []byte) (h mmsg.Header) {
	h.SetIovecs([]unix.Iovec{mmsg.Iovec(b)})
	return h
}

// A train is frames of one flow that the kernel gets in one piece and cuts (USO): what it takes for
// each of them is a third of what it takes for a message. (The interface must not take trains as
// they are.)
const (
	trainFrames = 64
	trainBytes  = 63 << 10
)

// fill prepares a message for each flow.
func (f *Far) fill(m *maker, flows int) error {
	f.next, f.train = 0, 1
	f.msgs = f.msgs[:0]
	if m.shape == UDP {
		f.train = max(1, min(trainFrames, trainBytes/(m.size-udpData)))
	}
	for i := range flows {
		t := tagOf(farEnd, i)
		if m.shape == UDP {
			f.msgs = append(f.msgs, bytesMessage(m.train(t, f.train)))
		} else {
			f.msgs = append(f.msgs, message(m, t))
		}
	}
	return nil
}

// send sends one of the prepared messages.
func (f *Far) send() error {
	n, err := f.sendAll(f.msgs[f.next : f.next+1])
	f.sent += uint64(n * f.train)
	if f.next++; f.next == len(f.msgs) {
		f.next = 0
	}
	return err
}

// sendAll sends messages, and returns how many went; fewer where the kernel has no room for more at
// present.
func (f *Far) sendAll(msgs []mmsg.Header) (int, error) {
	n, errno := mmsg.Send(f.fd, msgs)
	switch errno {
	case 0, unix.EAGAIN, unix.ENOBUFS, unix.EINTR:
		return n, nil
	}
	return 0, fmt.Errorf("far end: sendmmsg: %w", errno)
}

// transmit implements Guest.
func (f *Far) transmit(m *maker, tags []tag) error {
	var msgs []mmsg.Header
	for _, t := range tags {
		msgs = append(msgs, message(m, t))
	}
	for end := time.Now().Add(patience); len(msgs) > 0; {
		n, err := f.sendAll(msgs)
		if err != nil {
			return err
		}
		if msgs = msgs[n:]; time.Now().After(end) {
			return fmt.Errorf("far end: after %v the kernel has not taken %d frames", patience, len(msgs))
		}
	}
	return nil
}
