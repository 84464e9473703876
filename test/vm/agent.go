package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"vswitchd/test/guest"
)

// An Agent is the host's end of a guest's second serial port. A [VM] has one; for a guest that was
// started otherwise there is [DialAgent].
type Agent struct {
	conn net.Conn

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan<- *Result
	boot    string
	changed chan struct{} // closed and replaced when boot changes
	gone    bool          // the connection is: QEMU has exited
}

// DialAgent connects to the unix socket to which QEMU has connected the guest's second serial port.
// It takes one connection at a time.
func DialAgent(ctx context.Context, path string) (*Agent, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	a := newAgent(conn)
	return a, a.write([]byte("\n")) // ends the line that another connection may have left unfinished
}

func newAgent(conn net.Conn) *Agent {
	a := &Agent{conn: conn, waiting: make(map[uint64]chan<- *Result), changed: make(chan struct{})}
	a.lastID = rand.Uint64N(1 << 50) // the results of an earlier connection's commands may come on this one
	go a.receive()
	return a
}

// Close ends the connection. The guest goes on.
func (a *Agent) Close() { a.conn.Close() }

func (a *Agent) receive() {
	lines := bufio.NewReader(a.conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var message guest.Message
		if json.Unmarshal(line, &message) != nil {
			continue // the firmware's, or cut short by a reset
		}
		a.mu.Lock()
		switch {
		case message.Ready != nil && message.Ready.Boot != a.boot:
			if a.boot != "" {
				a.dropWaiting()
			}
			a.boot = message.Ready.Boot
			close(a.changed)
			a.changed = make(chan struct{})
		case message.Result != nil:
			if ch, ok := a.waiting[message.Result.ID]; ok {
				ch <- message.Result
				delete(a.waiting, message.Result.ID)
			}
		}
		a.mu.Unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = true
	a.dropWaiting()
	close(a.changed)
	a.changed = make(chan struct{})
}

// dropWaiting tells everyone who waits for a result that it will not come.
func (a *Agent) dropWaiting() {
	for id, ch := range a.waiting {
		close(ch)
		delete(a.waiting, id)
	}
}

func (a *Agent) state() (boot string, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.boot, a.changed
}

func (a *Agent) isGone() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.gone
}

// WaitReboot returns when the guest is ready in another boot than the one named; any will do if
// that is empty.
func (a *Agent) WaitReboot(ctx context.Context, old string) error {
	// The guest announces itself, but may have done so before this end was there to hear: after a
	// migration, for one.
	ask := time.NewTicker(time.Second)
	defer ask.Stop()
	for {
		boot, changed := a.state()
		switch {
		case a.isGone():
			return ErrExited
		case boot != old:
			return nil
		}
		select {
		case <-changed:
		case <-ask.C:
			a.write([]byte("\n")) // an error shows as gone
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Run runs a command, see [VM.Run].
func (a *Agent) Run(ctx context.Context, command string) (*Result, error) {
	request := guest.Request{Command: command}
	if deadline, ok := ctx.Deadline(); ok {
		request.TimeoutMS = max(1, time.Until(deadline).Milliseconds())
	}
	done := make(chan *Result, 1)
	a.mu.Lock()
	if a.gone {
		a.mu.Unlock()
		return nil, ErrExited
	}
	a.lastID++
	request.ID = a.lastID
	a.waiting[request.ID] = done
	a.mu.Unlock()

	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if err := a.write(append(line, '\n')); err != nil {
		return nil, errors.Join(ErrExited, err)
	}
	select {
	case result, ok := <-done:
		switch {
		case ok:
			return result, nil
		case a.isGone():
			return nil, ErrExited
		default:
			return nil, ErrRebooted
		}
	case <-ctx.Done():
		a.mu.Lock()
		delete(a.waiting, request.ID)
		a.mu.Unlock()
		return nil, ctx.Err()
	}
}

// write sends a whole line; a unix socket write is not interleaved with another's by package net.
func (a *Agent) write(line []byte) error {
	_, err := a.conn.Write(line)
	return err
}
