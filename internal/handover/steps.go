package handover

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Times that one side waits for the other.
const (
	prepareTime = 30 * time.Second // before anything is stopped
	frozenTime  = 2 * time.Second  // while everything is stopped
	ackTime     = 2 * time.Second  // for "ack", after which the other process is killed
)

// A Hello is what the new process says first.
type Hello struct {
	Schema     int      `json:"schema"`     // the newest that it reads
	Version    string   `json:"version"`    // of its vswitchd
	Understood []string `json:"understood"` // names that it knows in Document.MustUnderstand
}

// An Old is the process that hands over. Yield calls its methods in this order.
type Old interface {
	// Offer returns what can be said before anything is stopped, as a document with the
	// configuration and those parts that may be a little out of date. The error says why nothing
	// can be handed over.
	Offer(Hello, *Writer) (*Document, error)

	// Freeze stops everything and returns the state. After an error nothing is stopped.
	Freeze(*Writer) (*Document, error)

	// Thaw undoes Freeze.
	Thaw()
}

// Yield hands over to the process at the other end of uc, which belongs to Yield. If Yield returns
// nil, the other process has everything, and this one must touch nothing any more. After an error
// everything is as before.
func Yield(uc *net.UnixConn, old Old) (err error) {
	defer uc.Close()
	c := conn{uc}
	defer func() { c.refuse(err) }()
	if err := c.offer(old); err != nil {
		return err
	}
	fault("old-ready")
	var w Writer
	defer w.Close()
	doc, err := old.Freeze(&w)
	if err != nil {
		return err
	}
	fault("old-frozen")
	if err = c.pass(doc, &w); err != nil {
		old.Thaw()
	}
	return err
}

// offer goes through the steps before anything is stopped.
func (c conn) offer(old Old) error {
	var hello Hello
	if _, err := c.receive(prepareTime, kindHello, &hello); err != nil {
		return err
	}
	fault("old-hello")
	if hello.Schema < MinReader {
		return fmt.Errorf("vswitchd %s reads states up to schema %d, this one writes schema %d, for readers from schema %d on",
			hello.Version, hello.Schema, Schema, MinReader)
	}
	var w Writer
	defer w.Close()
	doc, err := old.Offer(hello, &w)
	if err != nil {
		return err
	}
	if err := c.send(prepareTime, kindOffer, doc, w.Files()); err != nil {
		return err
	}
	_, err = c.receive(prepareTime, kindReady, &struct{}{})
	return err
}

// pass passes the state of a process that has stopped everything.
func (c conn) pass(doc *Document, w *Writer) error {
	if err := c.send(frozenTime, kindState, doc, w.Files()); err != nil {
		return err
	}
	fault("old-sent")
	if _, err := c.receive(frozenTime, kindTaken, &struct{}{}); err != nil {
		return err
	}
	fault("old-taken")
	other, err := c.peer()
	if err != nil {
		return fmt.Errorf("looking at the other process: %w", err)
	}
	defer unix.Close(other)
	if err := c.send(frozenTime, kindGo, struct{}{}, nil); err != nil {
		return err
	}
	fault("old-gone")
	_, err = c.receive(ackTime, kindAck, &struct{}{})
	if err == nil {
		return nil
	}
	// The other process has touched nothing, unless an "ack" is still to come. That is certain
	// only when the other process has ended.
	_ = unix.PidfdSendSignal(other, unix.SIGKILL, nil, 0)
	if _, late := c.receive(frozenTime, kindAck, &struct{}{}); late == nil {
		return nil
	}
	if !ended(other, frozenTime) {
		return errors.Join(err, errors.New("the other process does not end"))
	}
	return err
}

// Now returns the time that all processes of the machine share, in nanoseconds of CLOCK_MONOTONIC.
func Now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail
	return ts.Nano()
}

// isGone reports whether an error says that the other side has closed the connection.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// ended waits for the end of a process, and reports whether it has ended.
func ended(pidfd int, within time.Duration) bool {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for end := time.Now().Add(within); ; {
		n, err := unix.Poll(p, int(max(time.Until(end), 0).Milliseconds()))
		if err == nil || !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// A New is the process that takes over. Take calls its methods in this order.
type New interface {
	// Prepare does all that can be done before anything is stopped.
	Prepare(*Document, *Reader) error

	// Adopt makes everything ready, and touches nothing that the old process uses.
	Adopt(*Document, *Reader) error
}

// Take takes over from the process at the other end of uc, which belongs to Take. If Take returns
// nil, everything belongs to this process, which has to begin now. After an error this process must
// touch nothing.
func Take(uc *net.UnixConn, hello Hello, n New) (err error) {
	defer uc.Close()
	c := conn{uc}
	defer func() { c.refuse(err) }()
	if err := c.send(prepareTime, kindHello, hello, nil); err != nil {
		return err
	}
	// The socket's credentials are those of the process that made the listening socket, which may
	// have ended long ago.
	old := -1
	err = c.step(prepareTime, kindOffer, hello, func(d *Document, r *Reader) (err error) {
		if old, err = unix.PidfdOpen(d.PID, 0); err != nil {
			return fmt.Errorf("looking at the running vswitchd: %w", err)
		}
		return n.Prepare(d, r)
	})
	if err != nil {
		return err
	}
	defer unix.Close(old)
	fault("new-prepared")
	if err := c.send(prepareTime, kindReady, struct{}{}, nil); err != nil {
		return err
	}
	if err := c.step(prepareTime, kindState, hello, n.Adopt); err != nil {
		return err
	}
	fault("new-adopted")
	_ = c.send(frozenTime, kindTaken, struct{}{}, nil) // if that fails, so does the next step
	fault("new-taken")
	_, err = c.receive(frozenTime, kindGo, &struct{}{})
	if isGone(err) && ended(old, frozenTime) {
		// It has died with everything stopped and described: go on in its place.
		return nil
	}
	if err != nil {
		return err
	}
	fault("new-gone")
	// If the other process has died meanwhile, nobody needs the message.
	_ = c.send(frozenTime, kindAck, struct{}{}, nil)
	fault("new-acked")
	return nil
}

// step receives a document and passes it to f.
func (c conn) step(within time.Duration, kind string, hello Hello, f func(*Document, *Reader) error) error {
	doc := &Document{}
	files, err := c.receive(within, kind, doc)
	if isGone(err) {
		return errors.New("the running vswitchd has ended the hand-over, its log may say why")
	}
	if err != nil {
		return err
	}
	r := NewReader(files)
	defer r.Close()
	if err := doc.Check(hello.Understood); err != nil {
		return err
	}
	return f(doc, r)
}
