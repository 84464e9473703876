package vhostuser

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn receives and sends whole messages over a connected unix stream socket, with their file
// descriptors. It serves either side: a back-end that receives requests, or a front-end that
// receives replies. One goroutine may receive while another sends.
//
// Two rules keep file descriptors with the message that they belong to, and prevent leaks:
//
//   - A recvmsg never asks for bytes beyond the current message: first the header alone, then the
//     payload alone. "Back-end can expect that file descriptors will only be received in the first
//     recvmsg operation for a message header."
//   - Every file descriptor that the kernel installed is stored in Message.FDs at once, even from
//     truncated ancillary data. A function that returns without passing the message on closes them.
//
// The peer cannot make a call wait in the kernel, where neither a deadline nor Close would
// interrupt it: the peer of a back-end channel, or the process that passed a connected socket to
// this one, shares the file description and can clear its O_NONBLOCK flag at any time. Every system
// call uses MSG_DONTWAIT; only Go's poller waits.
type Conn struct {
	uc  *net.UnixConn
	raw syscall.RawConn // of uc
	msg Message         // returned by Recv

	made      time.Time
	receiving atomic.Int64 // when receiving the current message began, in ns since made; 0: none
	sending   atomic.Int64 // likewise for sending

	hdr [HeaderSize]byte // scratch
	buf [MaxPayload]byte // the payload of msg
	oob []byte           // scratch: ancillary data
	out []byte           // scratch: the message that is being sent

	blocking *blockingCalls // closes file descriptors of unknown kinds

	gate Gate // which the receiver leaves while it waits for a message
}

// NewConn makes a Conn of a socket and takes ownership of the socket.
func NewConn(uc *net.UnixConn) *Conn {
	raw, err := uc.SyscallConn()
	if err != nil {
		panic(err) // uc is nil
	}
	return &Conn{uc: uc, made: time.Now(), raw: raw, oob: make([]byte, unix.CmsgSpace(4*MaxFDs)), blocking: new(blockingCalls)}
}

// Close closes the socket. Pending calls of Recv and Send return.
func (c *Conn) Close() error { return c.uc.Close() }

// Recv waits for a message. The message and its payload are valid until the next call of Recv; its
// file descriptors have to be taken or closed by then.
//
// Errors: ErrDisconnected when the peer closed the connection between two messages, ErrTruncated
// within one, ErrMalformed for an invalid header. After an error the connection is unusable.
func (c *Conn) Recv() (*Message, error) {
	m := &c.msg
	m.FDs = m.FDs[:0]
	defer c.receiving.Store(0)
	if err := c.recv(m); err != nil {
		return nil, cmp.Or(c.discard(m), err)
	}
	return m, nil
}

func (c *Conn) recv(m *Message) error {
	if err := c.recvHeader(m); err != nil {
		return err
	}
	m.Header = decodeHeader(c.hdr[:])
	if v := m.Flags & FlagVersionMask; v != FlagVersion {
		return fmt.Errorf("%w: version %d in the header of %v, want %d", ErrMalformed, v, m.Request, FlagVersion)
	}
	if m.Size > MaxPayload {
		return fmt.Errorf("%w: %v announces %d bytes of payload, at most %d are possible", ErrMalformed, m.Request, m.Size, MaxPayload)
	}
	m.Payload = c.buf[:m.Size]
	for got := 0; got < len(m.Payload); {
		n, oobn, _, err := c.recvmsg(m.Payload[got:], c.oob)
		if oobn > 0 { // file descriptors are only allowed with the header
			var stray Message
			if ferr := cmp.Or(stray.addFDs(c.oob[:oobn]), c.discard(&stray)); ferr != nil {
				return ferr
			}
		}
		if err != nil || n == 0 {
			return truncated(err)
		}
		got += n
	}
	return nil
}

// discard closes the file descriptors that a message still has.
func (c *Conn) discard(m *Message) error {
	fds := m.FDs
	m.FDs = nil
	return c.blocking.close(fds...)
}

// recvmsg receives bytes and ancillary data as soon as any are available. It returns 0 bytes when
// the peer has closed the connection.
func (c *Conn) recvmsg(p, oob []byte) (n, oobn, flags int, err error) {
	werr := c.raw.Read(func(fd uintptr) bool {
		n, oobn, flags, err = recvNow(fd, p, oob)
		return err != unix.EAGAIN
	})
	if err = cmp.Or(werr, err); err != nil {
		return 0, 0, 0, err
	}
	return n, oobn, flags, nil
}

// recvNow is recvmsg without waiting.
func recvNow(fd uintptr, p, oob []byte) (n, oobn, flags int, err error) {
	for {
		n, oobn, flags, _, err = unix.Recvmsg(int(fd), p, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			return n, oobn, flags, err
		}
	}
}

// recvFirst is recvmsg for the first bytes of a message. The caller has the gate, before and after.
func (c *Conn) recvFirst(p, oob []byte) (n, oobn, flags int, err error) {
	c.gate.Leave() // even if a message is there: somebody else may be waiting for the gate
	has := false
	werr := c.raw.Read(func(fd uintptr) bool {
		c.gate.Enter()
		n, oobn, flags, err = recvNow(fd, p, oob)
		if has = err != unix.EAGAIN; !has {
			c.gate.Leave()
		}
		return has
	})
	if !has {
		c.gate.Enter()
	}
	if err = cmp.Or(werr, err); err != nil {
		return 0, 0, 0, err
	}
	return n, oobn, flags, nil
}

// sendmsg sends bytes and ancillary data as soon as there is room for some of them, and returns the
// number of bytes sent.
func (c *Conn) sendmsg(p, oob []byte) (n int, err error) {
	werr := c.raw.Write(func(fd uintptr) bool {
		for {
			n, err = unix.SendmsgN(int(fd), p, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if err = cmp.Or(werr, err); err != nil {
		return 0, err
	}
	return n, nil
}

// recvHeader receives the header into c.hdr, and the file descriptors that come with it.
func (c *Conn) recvHeader(m *Message) error {
	for got := 0; got < HeaderSize; {
		recv := c.recvmsg
		if got == 0 && c.gate != nil {
			recv = c.recvFirst
		}
		n, oobn, flags, err := recv(c.hdr[got:], c.oob)
		if ferr := m.addFDs(c.oob[:oobn]); ferr != nil {
			return ferr
		}
		if flags&unix.MSG_CTRUNC != 0 && len(m.FDs) < MaxFDs {
			return fmt.Errorf("receiving file descriptors: %w", whyWithheld())
		}
		if flags&unix.MSG_CTRUNC != 0 || len(m.FDs) > MaxFDs {
			return fmt.Errorf("%w: more than %d file descriptors", ErrMalformed, MaxFDs)
		}
		got += n
		switch {
		case err == nil && n > 0:
			c.receiving.CompareAndSwap(0, c.clock())
		case got > 0:
			return truncated(err)
		case err == nil || errors.Is(err, unix.ECONNRESET):
			return ErrDisconnected
		default:
			return fmt.Errorf("receiving: %w", err)
		}
	}
	return nil
}

// whyWithheld returns the reason why the kernel did not install file descriptors for which the
// message had room.
func whyWithheld() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nameFileLimit(err)
	}
	closeFD(fd)
	return errors.New("the kernel has withheld some, probably because of a security module")
}

// addFDs adds the file descriptors in ancillary data to the message. On an error all those that
// were found have still been added.
func (m *Message) addFDs(oob []byte) error {
	if len(oob) == 0 {
		return nil
	}
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("ancillary data: %w", err)
	}
	for i := range cmsgs {
		if cmsgs[i].Header.Level != unix.SOL_SOCKET || cmsgs[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&cmsgs[i])
		if err != nil {
			return fmt.Errorf("ancillary data: %w", err)
		}
		m.FDs = append(m.FDs, fds...)
	}
	return nil
}

// truncated turns the error that ended the reading of a message into ErrTruncated if the peer
// caused it.
func truncated(err error) error {
	if err == nil || errors.Is(err, unix.ECONNRESET) {
		return ErrTruncated
	}
	return fmt.Errorf("receiving: %w", err)
}

// Send sends a message; the caller keeps ownership of fds. Send waits while the peer does not read,
// and returns ErrDisconnected when the peer has closed the connection.
func (c *Conn) Send(r Request, flags Flags, payload []byte, fds ...int) error {
	c.sending.Store(c.clock())
	defer c.sending.Store(0)
	err := c.send(r, flags, payload, fds...)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return ErrDisconnected
	}
	if err != nil {
		return fmt.Errorf("sending %v: %w", r, err)
	}
	return nil
}

func (c *Conn) send(r Request, flags Flags, payload []byte, fds ...int) error {
	c.out = appendHeader(c.out[:0], Header{r, flags | FlagVersion, uint32(len(payload))})
	c.out = append(c.out, payload...)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for sent := 0; sent < len(c.out); {
		n, err := c.sendmsg(c.out[sent:], rights)
		if err != nil {
			return err
		}
		sent, rights = sent+n, nil
	}
	return nil
}

// clock returns the time since the Conn was made, in nanoseconds, at least 1.
func (c *Conn) clock() int64 { return max(1, int64(time.Since(c.made))) }

// stalledFor returns for how long the peer has not completed a message that it began to send, or
// not read one that was sent to it.
func (c *Conn) stalledFor() time.Duration {
	var longest int64
	for _, began := range []int64{c.receiving.Load(), c.sending.Load()} {
		if began != 0 {
			longest = max(longest, c.clock()-began)
		}
	}
	return time.Duration(longest)
}

// closeFDs closes fds, except those that are -1.
func closeFDs(fds []int) {
	for _, fd := range fds {
		closeFD(fd)
	}
}

// closeFD closes fd unless it is -1, which means none. Errors are ignored: the number is
// free in any case.
func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}
