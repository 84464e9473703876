package handover

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Kinds of messages; the package documentation has their order.
const (
	kindHello  = "hello"
	kindOffer  = "offer"
	kindReady  = "ready"
	kindState  = "state"
	kindTaken  = "taken"
	kindGo     = "go"
	kindAck    = "ack"
	kindRefuse = "refuse" // instead of any other: the hand-over is given up, for the reason in it
)

// A RefusedError says that the other process has given the hand-over up, and why.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

const (
	// maxRights is the number of file descriptors that the kernel takes with one message
	// (SCM_MAX_FD).
	maxRights = 253

	maxBody  = 256 << 20 // bytes
	maxFiles = 1 << 20
)

// conn exchanges messages over a unix stream socket: the lengths of kind and body in bytes, and the
// number of files, 4 bytes each; the kind; the body, which is JSON; and one byte for each group of
// up to maxRights files, which come with that byte. Numbers are in the byte order of the machine.
type conn struct{ uc *net.UnixConn }

const headerLen = 12

// send sends a message. The files stay the caller's.
func (c conn) send(within time.Duration, kind string, body any, files []int) error {
	if err := c.uc.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	text, err := json.Marshal(body)
	if err == nil {
		err = c.write(kind, text, files)
	}
	if err != nil {
		return fmt.Errorf("sending %q: %w", kind, err)
	}
	return nil
}

func (c conn) write(kind string, text []byte, files []int) error {
	head := binary.NativeEndian.AppendUint32(nil, uint32(len(kind)))
	head = binary.NativeEndian.AppendUint32(head, uint32(len(text)))
	head = binary.NativeEndian.AppendUint32(head, uint32(len(files)))
	if _, err := c.uc.Write(slices.Concat(head, []byte(kind), text)); err != nil {
		return err
	}
	for group := range slices.Chunk(files, maxRights) {
		if _, _, err := c.uc.WriteMsgUnix([]byte{0}, unix.UnixRights(group...), nil); err != nil {
			return err
		}
	}
	return nil
}

// receive receives the next message, which has to be of the given kind, into body. The files are
// the caller's. The error is a *RefusedError if the other process has given up, and io.EOF if the
// connection has ended.
func (c conn) receive(within time.Duration, kind string, body any) (files []int, err error) {
	if err := c.uc.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	is, text, files, err := c.read()
	if err == nil && is == kindRefuse {
		var reason string
		if err = json.Unmarshal(text, &reason); err == nil {
			err = &RefusedError{reason}
		}
	} else if err == nil && is != kind {
		err = fmt.Errorf("%q came", is)
	} else if err == nil {
		err = json.Unmarshal(text, body)
	}
	if err != nil {
		closeAll(files)
		var refused *RefusedError
		if errors.As(err, &refused) {
			return nil, err
		}
		return nil, fmt.Errorf("waiting for %q: %w", kind, err)
	}
	return files, nil
}

func (c conn) read() (kind string, text []byte, files []int, err error) {
	var head [headerLen]byte
	if _, err := io.ReadFull(c.uc, head[:]); err != nil {
		return "", nil, nil, err
	}
	kindLen, bodyLen := binary.NativeEndian.Uint32(head[:]), binary.NativeEndian.Uint32(head[4:])
	left := int(binary.NativeEndian.Uint32(head[8:]))
	if kindLen > 64 || bodyLen > maxBody || left > maxFiles {
		return "", nil, nil, fmt.Errorf("a message of %d bytes with %d files", bodyLen, left)
	}
	both := make([]byte, kindLen+bodyLen)
	if _, err := io.ReadFull(c.uc, both); err != nil {
		return "", nil, nil, err
	}
	for left > 0 {
		group, err := c.readFiles()
		files = append(files, group...)
		if err == nil && len(group) != min(left, maxRights) {
			err = fmt.Errorf("%d files came, %d were announced: are there enough file descriptors (ulimit -n)?", len(group), left)
		}
		if err != nil {
			closeAll(files)
			return "", nil, nil, err
		}
		left -= len(group)
	}
	return string(both[:kindLen]), both[kindLen:], files, nil
}

// readFiles receives one group of files.
func (c conn) readFiles() (files []int, err error) {
	oob := make([]byte, unix.CmsgSpace(4*maxRights))
	_, n, _, _, err := c.uc.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
		}
		files = append(files, fds...)
	}
	return files, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// refuse tells the other process that the hand-over is given up, if there is a reason that the
// other process does not know.
func (c conn) refuse(reason error) {
	var refused *RefusedError
	if reason == nil || errors.As(reason, &refused) || isGone(reason) {
		return
	}
	_ = c.send(time.Second, kindRefuse, reason.Error(), nil) // the other process may be gone
}

// peer returns the process that has connected to this one, as a pidfd.
func (c conn) peer() (pidfd int, err error) {
	raw, err := c.uc.SyscallConn()
	if err != nil {
		return -1, err
	}
	pidfd = -1
	cerr := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pidfd, err = unix.PidfdOpen(int(cred.Pid), 0)
		}
	})
	return pidfd, errors.Join(cerr, err)
}
