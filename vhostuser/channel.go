package vhostuser

import (
	"errors"
	"fmt"
	"math/bits"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A channel carries requests of the back-end to the front-end (protocol feature BACKEND_REQ).
//
// The front-end may be slow, stuck or dead, so the channel has a separate goroutine, the only one
// that sends and waits for replies. Other goroutines record what is to be sent. Recording the same
// message twice before it is sent has the same effect as recording it once, so that the record has
// a fixed size, however long sending takes.
type channel struct {
	conn *Conn
	acks bool          // REPLY_ACK is negotiated
	wake chan struct{} // of capacity 1: a message is pending
	quit chan struct{} // closed by close
	done chan struct{} // closed when the goroutine has ended
	gate Gate          // which the goroutine has from a request to its reply

	mu     sync.Mutex
	config bool      // pending: CONFIG_CHANGE_MSG
	calls  [4]uint64 // pending: VRING_CALL, one bit for each vring
}

// newChannel starts a channel on a duplicate of the stream socket fd.
func newChannel(b *blockingCalls, fd int, acks bool) (*channel, error) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, refuse("back-end channel: %w", err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, refuse("back-end channel: %w", err)
	}
	if domain != unix.AF_UNIX || kind != unix.SOCK_STREAM {
		return nil, refuse("back-end channel is not a unix stream socket")
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("back-end channel: %w", nameFileLimit(err))
	}
	f := os.NewFile(uintptr(own), "back-end channel")
	defer f.Close() // net.FileConn duplicates the descriptor
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, refuse("back-end channel: %w", err)
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		_ = nc.Close()
		return nil, refuse("back-end channel is not a unix stream socket")
	}
	c := &channel{
		conn: NewConn(uc),
		acks: acks,
		wake: make(chan struct{}, 1),
		quit: make(chan struct{}),
		done: make(chan struct{}),
		gate: NewGate(),
	}
	c.conn.blocking = b
	go c.run()
	return c, nil
}

// close ends the channel. Pending messages are discarded.
func (c *channel) close() {
	close(c.quit)
	_ = c.conn.Close()
	<-c.done
}

// configChanged queues CONFIG_CHANGE_MSG. It does not wait.
func (c *channel) configChanged() {
	c.mu.Lock()
	c.config = true
	c.mu.Unlock()
	c.wakeUp()
}

// call queues VRING_CALL for a vring. It does not wait.
func (c *channel) call(vring int) {
	c.mu.Lock()
	c.calls[vring/64] |= 1 << (vring % 64)
	c.mu.Unlock()
	c.wakeUp()
}

func (c *channel) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run sends pending messages until the front-end disconnects or close is called.
func (c *channel) run() {
	defer close(c.done)
	defer c.conn.Close()
	for {
		select {
		case <-c.quit:
			return
		case <-c.wake:
		}
		for {
			more, err := c.sendNext()
			if err != nil {
				return
			}
			if !more {
				break
			}
		}
	}
}

// sendNext sends the next pending message, if there is one.
func (c *channel) sendNext() (sent bool, err error) {
	c.gate.Enter()
	defer c.gate.Leave()
	r, payload, ok := c.next()
	if !ok {
		return false, nil
	}
	return true, c.request(r, payload)
}

// next takes the next pending message.
func (c *channel) next() (r BackendRequest, payload []byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.config {
		c.config = false
		return BackendConfigChangeMsg, nil, true
	}
	for w, set := range c.calls {
		if set == 0 {
			continue
		}
		bit := bits.TrailingZeros64(set)
		c.calls[w] &^= 1 << bit
		// "The state.num field is currently reserved and must be set to 0."
		return BackendVringCall, VringState{Index: uint32(64*w + bit)}.AppendTo(nil), true
	}
	return 0, nil, false
}

// request sends a message and, if REPLY_ACK is negotiated, waits for the front-end's reply, so that
// messages never pile up in the socket. The result in the reply is ignored.
func (c *channel) request(r BackendRequest, payload []byte) error {
	flags := Flags(0)
	if c.acks {
		flags = FlagNeedReply
	}
	if err := c.conn.send(Request(r), flags, payload); err != nil {
		return fmt.Errorf("sending %v: %w", r, err)
	}
	if !c.acks {
		return nil
	}
	m, err := c.conn.Recv()
	if err != nil {
		return fmt.Errorf("waiting for the reply to %v: %w", r, err)
	}
	if err := c.conn.discard(m); err != nil {
		return err
	}
	if m.Request != Request(r) || m.Flags&FlagReply == 0 || m.Size != 8 {
		return fmt.Errorf("reply to %v: %w", r, errors.Join(ErrMalformed, fmt.Errorf("%+v", m.Header)))
	}
	return nil
}
