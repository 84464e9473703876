package vhostusertest

import (
	"errors"
	"fmt"
	"net"
	"time"

	"vswitchd/vhostuser"
)

// Channel is the front-end's end of the channel on which the back-end sends requests.
type Channel struct {
	uc   *net.UnixConn
	conn *vhostuser.Conn
}

// OpenChannel sends SET_BACKEND_REQ_FD. The caller has to close the channel.
func (f *FrontEnd) OpenChannel() (*Channel, error) {
	ours, theirs, err := Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	c := &Channel{uc: ours.uc, conn: ours.conn}
	raw, err := theirs.SyscallConn()
	if err == nil {
		ctlErr := raw.Control(func(fd uintptr) { err = f.Do(vhostuser.SetBackendReqFD, nil, int(fd)) })
		err = errors.Join(err, ctlErr)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the channel.
func (c *Channel) Close() { _ = c.conn.Close() }

// Recv waits for a request of the back-end. The message is valid until the next call.
func (c *Channel) Recv() (vhostuser.BackendRequest, *vhostuser.Message, error) {
	_ = c.uc.SetDeadline(time.Now().Add(Timeout))
	m, err := c.conn.Recv()
	if err != nil {
		return 0, nil, err
	}
	return vhostuser.BackendRequest(m.Request), m, nil
}

// Silent reports whether no request arrives within the given time.
func (c *Channel) Silent(wait time.Duration) bool {
	_ = c.uc.SetDeadline(time.Now().Add(wait))
	_, err := c.conn.Recv()
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Reply answers a request with a result: 0 for success.
func (c *Channel) Reply(r vhostuser.BackendRequest, result uint64) error {
	_ = c.uc.SetDeadline(time.Now().Add(Timeout))
	return c.conn.Send(vhostuser.Request(r), vhostuser.FlagReply, vhostuser.AppendU64(nil, result))
}

// Serve answers every request with success and calls handle for it, until the channel ends.
func (c *Channel) Serve(handle func(r vhostuser.BackendRequest, payload []byte)) error {
	for {
		r, m, err := c.Recv()
		if err != nil {
			return err
		}
		handle(r, m.Payload)
		if m.Flags&vhostuser.FlagNeedReply == 0 {
			continue
		}
		if err := c.Reply(r, 0); err != nil {
			return fmt.Errorf("replying to %v: %w", r, err)
		}
	}
}
