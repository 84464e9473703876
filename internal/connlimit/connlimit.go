// Package connlimit bounds how many connections a server has at a time, and with that how many
// of the process's file descriptors its clients can take.
package connlimit

import (
	"net"
	"slices"
	"sync"
)

// New returns a listener of whose connections at most n are open at a time. One more takes the
// place of the oldest, which is closed: clients that hang keep nobody out.
func New(l net.Listener, n int) net.Listener { return &listener{Listener: l, most: n} }

type listener struct {
	net.Listener
	most int

	mu   sync.Mutex
	open []*conn // the oldest first
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	mine := &conn{Conn: c, l: l}
	l.mu.Lock()
	l.open = append(l.open, mine)
	var oldest *conn
	if len(l.open) > l.most {
		oldest = l.open[0]
	}
	l.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
	return mine, nil
}

// Exempt takes a connection of such a listener out of the limit: it does not count, and is not
// closed for another.
func Exempt(c net.Conn) {
	if c, ok := c.(*conn); ok {
		c.forget()
	}
}

// Inner returns the connection that the inner listener has accepted.
func Inner(c net.Conn) net.Conn {
	if mine, ok := c.(*conn); ok {
		return mine.Conn
	}
	return c
}

type conn struct {
	net.Conn
	l *listener
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.forget()
	return c.Conn.Close()
}

func (c *conn) forget() {
	c.l.mu.Lock()
	c.l.open = slices.DeleteFunc(c.l.open, func(o *conn) bool { return o == c })
	c.l.mu.Unlock()
}
