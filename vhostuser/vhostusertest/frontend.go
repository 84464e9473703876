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

// Timeout is how long any method waits for the back-end.
const Timeout = 20 * time.Second

// ErrNack is returned for a message that the back-end refused by REPLY_ACK.
var ErrNack = errors.New("back-end refused")

// A FrontEnd is one connection to a back-end.
type FrontEnd struct {
	Features         uint64 // acknowledged by Handshake
	ProtocolFeatures uint64
	Memory           []*Memory // made by NewMemory
	Rings            []*Ring   // made by NewRing

	uc   *net.UnixConn
	conn *vhostuser.Conn
}

// New returns a front-end that uses a connected socket, which belongs to it from
// then on.
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

// Pair returns a front-end and the socket for the back-end that it is connected
// to.
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

// Close closes the connection and all that the front-end has: its memory and
// its eventfds. To the back-end it is what the end of a process is.
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

// Reconnect closes the connection, and returns a front-end that goes on with the memory
// and the rings, and the socket for the back-end that it is connected to. Nothing is
// negotiated yet. f is of no more use.
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

// Has tells whether a protocol feature was acknowledged.
func (f *FrontEnd) Has(protocolFeature int) bool {
	return f.ProtocolFeatures&(1<<protocolFeature) != 0
}

// Handshake does what QEMU does when it has connected, and acknowledges those of
// the features wanted that the back-end offers. (Protocol features are negotiated
// if features has bit FeatureProtocolFeatures.)
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

// Do sends a request that has no reply of its own. With REPLY_ACK it waits for
// the outcome: ErrNack if the back-end refused. Without, it waits until the
// back-end has done it, by asking for something afterwards.
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

// Get sends a request that is answered with a payload of the given size in
// bytes, and returns that.
func (f *FrontEnd) Get(r vhostuser.Request, payload []byte, size int) ([]byte, error) {
	if err := f.Send(r, 0, payload); err != nil {
		return nil, err
	}
	return f.reply(r, size)
}

// GetU64 sends a request without payload that is answered with a number.
func (f *FrontEnd) GetU64(r vhostuser.Request) (uint64, error) {
	b, err := f.Get(r, nil, 8)
	if err != nil {
		return 0, err
	}
	return vhostuser.DecodeU64(b), nil
}

// reply receives the answer to r and is as strict about it as QEMU is.
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
