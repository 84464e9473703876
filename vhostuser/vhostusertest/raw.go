package vhostusertest

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
)

// Send sends any message; the caller keeps ownership of fds. The version is added to flags.
func (f *FrontEnd) Send(r vhostuser.Request, flags vhostuser.Flags, payload []byte, fds ...int) error {
	f.deadline()
	return f.conn.Send(r, flags, payload, fds...)
}

// Write sends any bytes, with any file descriptors, of which the caller keeps ownership.
func (f *FrontEnd) Write(b []byte, fds ...int) error {
	f.deadline()
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	n, _, err := f.uc.WriteMsgUnix(b, rights, nil)
	if err == nil && n < len(b) {
		_, err = f.uc.Write(b[n:])
	}
	return err
}

// Recv receives a message. See vhostuser.Conn.Recv.
func (f *FrontEnd) Recv() (*vhostuser.Message, error) {
	f.deadline()
	return f.conn.Recv()
}

// CloseWrite ends the stream to the back-end; the other direction and all memory stay usable.
func (f *FrontEnd) CloseWrite() error { return f.uc.CloseWrite() }

// WaitClosed waits until the back-end has closed the connection. Unread replies are discarded.
func (f *FrontEnd) WaitClosed() error {
	f.deadline()
	buf := make([]byte, 4096)
	for {
		_, err := f.uc.Read(buf)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errors.New("back-end did not close the connection")
		case err != nil:
			return err
		}
	}
}

func (f *FrontEnd) deadline() { _ = f.uc.SetDeadline(time.Now().Add(Timeout)) }
