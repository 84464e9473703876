package uplink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// Socket buffers, in bytes. They are limits, not memory: the kernel charges queued frames to them.
const (
	// rcvBuf holds frames that are larger than a slot until Poll fetches them: at least 64 whole
	// GSO frames, as the kernel counts them.
	rcvBuf = 8 << 20

	// sndBuf holds frames that the device has not sent yet: one batch of whole GSO frames. With
	// less, a burst is refused while the device is still busy with its beginning.
	sndBuf = 4 << 20
)

// A socket is three AF_PACKET sockets bound to one interface index: the first receives into its
// ring, the second sends, and the third sends what the second cannot (long.go). A socket lives as
// long as the interface keeps its index and its slot size.
//
// The sending socket is not the socket that a worker waits for with epoll: each frame that has left
// the kernel makes room in its sender's buffer, which would wake the worker.
type socket struct {
	fd    int // receives
	out   int // sends
	long  *longSender
	index int
	ring  *ring
	rx    *receiver

	joined map[vswitch.MAC]struct{} // memberships of fd, see addresses.go

	ignoresOutgoing bool
}

// socketConfig is what openSocket makes a socket from.
type socketConfig struct {
	index       int
	mac         net.HardwareAddr
	promiscuous bool
	ringSize    int
	slotSize    int
}

// openSocket makes a socket that is ready to receive into its ring.
//
// packet.Listen with protocol 0 makes a socket that receives nothing. So all options are set and
// the ring is in place before the second bind starts reception: no frame arrives without a vnet
// header, none that this uplink has sent, and none outside the ring.
func openSocket(cfg socketConfig) (_ *socket, err error) {
	fd, err := listen(cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	s := &socket{fd: fd, index: cfg.index}
	if err := s.setOptions(); err != nil {
		return nil, err
	}
	if err := s.joinAll(cfg.promiscuous); err != nil {
		return nil, err
	}
	if s.out, err = openSender(cfg.index); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unix.Close(s.out)
		}
	}()
	if s.long, err = openLongSender(cfg.index, cfg.slotSize); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.long.close()
		}
	}()
	if s.ring, err = openRing(fd, unix.PACKET_RX_RING, cfg.ringSize, cfg.slotSize); err != nil {
		return nil, fmt.Errorf("receive ring: %w", err)
	}
	all := binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)
	sa := &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(all), Ifindex: cfg.index}
	if err := unix.Bind(fd, sa); err != nil {
		s.ring.close()
		return nil, fmt.Errorf("bind: %w", err)
	}
	s.rx = &receiver{fd: fd, ring: s.ring}
	if !cfg.promiscuous {
		s.joined = make(map[vswitch.MAC]struct{})
		s.rx.only.Store(newMACSet(nil))
	}
	return s, nil
}

// listen opens the socket with packet.Listen and returns a duplicate of its descriptor, closing the
// Conn: a Conn's descriptor is registered with the Go runtime's poller, edge-triggered, so every
// arriving frame would wake a thread of the runtime besides the worker that waits for it: a round
// trip took 38 us instead of 23 us. Memberships and options belong to the socket and stay.
func listen(cfg socketConfig) (fd int, err error) {
	conn, err := packet.Listen(&net.Interface{Index: cfg.index, HardwareAddr: cfg.mac}, packet.Raw, 0, nil)
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dupErr error
	err = raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err := errors.Join(err, dupErr); err != nil {
		return -1, err
	}
	return fd, nil
}

func (s *socket) setOptions() error {
	// Kernels before 4.20 lack it. Poll looks at sll_pkttype in any case.
	s.ignoresOutgoing = unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) == nil

	for _, o := range []struct {
		name     string
		opt, val int
	}{
		{"PACKET_VERSION", unix.PACKET_VERSION, unix.TPACKET_V2},
		{"PACKET_RESERVE", unix.PACKET_RESERVE, slotReserve},
		{"PACKET_VNET_HDR", unix.PACKET_VNET_HDR, 1},
		{"PACKET_COPY_THRESH", unix.PACKET_COPY_THRESH, 1},
	} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, o.opt, o.val); err != nil {
			return fmt.Errorf("setting %s: %w", o.name, err)
		}
	}

	// The FORCE options need CAP_NET_ADMIN; without it net.core.[rw]mem_max are the limit, which is
	// a slower uplink but not a broken one.
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvBuf/2) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvBuf/2)
	}
	return nil
}

// openSender opens a socket that sends by an interface and receives nothing, since it is for no
// protocol.
func openSender(index int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a socket to send: %w", err)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index})
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("preparing a socket to send: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sndBuf/2) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sndBuf/2)
	}
	return fd, nil
}

// bound reports whether the socket is still attached to its interface. The kernel unbinds it for
// good (index -1) when the interface goes away or moves to another namespace, even if one with the
// same name and index follows.
func (s *socket) bound() bool {
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return false
	}
	ll, ok := sa.(*unix.SockaddrLinklayer)
	return ok && ll.Ifindex == s.index
}

// kernelStats reads PACKET_STATISTICS: frames that passed the socket and frames that found no free
// slot, since the last call.
func (s *socket) kernelStats() (packets, drops uint64) {
	st, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, 0
	}
	return uint64(st.Packets), uint64(st.Drops)
}

// clearError takes the pending error (ENETDOWN after the link was set down) off the socket: it
// would be reported to the next send, and by epoll until then.
func (s *socket) clearError() {
	_, _ = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
}

// close closes the socket. No goroutine may be polling it or sending on it.
func (s *socket) close() error {
	return errors.Join(s.ring.close(), unix.Close(s.fd), unix.Close(s.out), s.long.close())
}
