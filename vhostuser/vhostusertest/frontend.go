package vhostusertest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
)

// Timeout limits every wait for the back-end.
const Timeout = 20 * time.Second

// ErrNack is returned for a message that the back-end refused in its REPLY_ACK reply.
var ErrNack = errors.New("back-end refused")

// A FrontEnd is one connection to a back-end.
type FrontEnd struct {
	Features         uint64 // acknowledged by Handshake
	ProtocolFeatures uint64
	Memory           []*Memory // from NewMemory
	Rings            []*Ring   // from NewRing

	uc   *net.UnixConn
	conn *vhostuser.Conn
}

// New returns a front-end that uses a connected socket, and takes ownership of the socket.
func New(uc *net.UnixConn) *FrontEnd {
	return &FrontEnd{uc: uc, conn: vhostuser.NewConn(uc)}
}

// Dial connects to a back-end that listens at path.
func Dial(path string) (*FrontEnd, error) {
	uc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path})
	if err != nil {
		return nil, err
	}
	return New(uc), nil
}

// Pair returns a front-end and the socket of the back-end that it is connected to.
func Pair() (*FrontEnd, *net.UnixConn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			return nil, nil, err
		}
		ends[i] = c.(*net.UnixConn)
	}
	return New(ends[0]), ends[1], nil
}

// Close closes the connection, and the front-end's memory and eventfds. For the back-end this looks
// like the end of the front-end's process.
func (f *FrontEnd) Close() {
	_ = f.conn.Close()
	for _, r := range f.Rings {
		r.close()
	}
	for _, m := range f.Memory {
		m.close()
	}
	f.Rings, f.Memory = nil, nil
}

// Reconnect closes the connection, and returns a front-end with the same memory and rings,
// and the socket of the back-end that it is connected to. Nothing is negotiated yet. f must
// not be used any more.
func (f *FrontEnd) Reconnect() (*FrontEnd, *net.UnixConn, error) {
	next, backend, err := Pair()
	if err != nil {
		return nil, nil, err
	}
	next.Memory, next.Rings = f.Memory, f.Rings
	f.Memory, f.Rings = nil, nil
	f.Close()
	return next, backend, nil
}

// Has reports whether a protocol feature was acknowledged.
func (f *FrontEnd) Has(protocolFeature int) bool {
	return f.ProtocolFeatures&(1<<protocolFeature) != 0
}

// Handshake does what QEMU does when it has connected, and acknowledges those of the given features
// that the back-end offers. (Protocol features are negotiated if features has bit
// FeatureProtocolFeatures.)
func (f *FrontEnd) Handshake(features, protocolFeatures uint64) error {
	offered, err := f.GetU64(vhostuser.GetFeatures)
	if err != nil {
		return err
	}
	f.Features = offered & features
	if f.Features&(1<<vhostuser.FeatureProtocolFeatures) != 0 {
		offered, err := f.GetU64(vhostuser.GetProtocolFeatures)
		if err != nil {
			return err
		}
		ack := offered & protocolFeatures
		if err := f.Do(vhostuser.SetProtocolFeatures, vhostuser.AppendU64(nil, ack)); err != nil {
			return err
		}
		f.ProtocolFeatures = ack
	}
	if f.Has(vhostuser.ProtocolFeatureMQ) {
		if _, err := f.GetU64(vhostuser.GetQueueNum); err != nil {
			return err
		}
	}
	if f.Has(vhostuser.ProtocolFeatureConfigureMemSlots) {
		if _, err := f.GetU64(vhostuser.GetMaxMemSlots); err != nil {
			return err
		}
	}
	if err := f.Do(vhostuser.SetOwner, nil); err != nil {
		return err
	}
	return f.Do(vhostuser.SetFeatures, vhostuser.AppendU64(nil, f.Features))
}

// Do sends a request that has no specific reply. With REPLY_ACK it waits for the result: ErrNack if
// the back-end refused. Without, it sends another request and waits for its reply, so that the
// back-end has processed the first one.
func (f *FrontEnd) Do(r vhostuser.Request, payload []byte, fds ...int) error {
	if !f.Has(vhostuser.ProtocolFeatureReplyAck) {
		if err := f.Send(r, 0, payload, fds...); err != nil {
			return err
		}
		_, err := f.GetU64(vhostuser.GetFeatures)
		return err
	}
	if err := f.Send(r, vhostuser.FlagNeedReply, payload, fds...); err != nil {
		return err
	}
	reply, err := f.reply(r, 8)
	if err != nil {
		return err
	}
	if result := vhostuser.DecodeU64(reply); result != 0 {
		return fmt.Errorf("%v: %w (%d)", r, ErrNack, result)
	}
	return nil
}

// Get sends a request that has a reply with a payload of the given size, in bytes, and
// returns that payload.
func (f *FrontEnd) Get(r vhostuser.Request, payload []byte, size int) ([]byte, error) {
	if err := f.Send(r, 0, payload); err != nil {
		return nil, err
	}
	return f.reply(r, size)
}

// GetU64 sends a request without a payload whose reply is a number.
func (f *FrontEnd) GetU64(r vhostuser.Request) (uint64, error) {
	b, err := f.Get(r, nil, 8)
	if err != nil {
		return 0, err
	}
	return vhostuser.DecodeU64(b), nil
}

// reply receives the reply to r, and checks it as strictly as QEMU does.
func (f *FrontEnd) reply(r vhostuser.Request, size int) ([]byte, error) {
	m, err := f.Recv()
	if err != nil {
		return nil, fmt.Errorf("waiting for the reply to %v: %w", r, err)
	}
	defer m.Close()
	if m.Request != r || m.Flags != vhostuser.FlagVersion|vhostuser.FlagReply || int(m.Size) != size {
		return nil, fmt.Errorf("reply to %v is %v with flags %#x and %d bytes of payload, want %d bytes", r, m.Request, m.Flags, m.Size, size)
	}
	return append([]byte(nil), m.Payload...), nil
}
