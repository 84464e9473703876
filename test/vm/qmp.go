package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
)

// An Event is one of QEMU's: its name, such as RESET or DEVICE_DELETED, and its data.
type Event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// Execute runs a command of QEMU's monitor, such as quit, system_reset or device_add, and returns
// what it returns. arguments is anything that marshals to a JSON object, or nil.
func (vm *VM) Execute(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	if vm.qmp == nil {
		return nil, fmt.Errorf("guest %s: %s: %w", vm.Config.Name, command, errNoMonitor)
	}
	value, err := vm.qmp.execute(ctx, command, arguments)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %s: %w", vm.Config.Name, command, err)
	}
	return value, nil
}

// WaitEvent returns the oldest event of one of these names since the guest's start that was not
// returned before, and waits for one if there is none yet. Events before the one returned are
// forgotten.
func (vm *VM) WaitEvent(ctx context.Context, names ...string) (Event, error) {
	if vm.qmp == nil {
		return Event{}, fmt.Errorf("guest %s: wait for event %s: %w", vm.Config.Name, strings.Join(names, " or "), errNoMonitor)
	}
	event, err := vm.qmp.waitEvent(ctx, names)
	if err != nil {
		return event, fmt.Errorf("guest %s: wait for event %s: %w", vm.Config.Name, strings.Join(names, " or "), err)
	}
	return event, nil
}

var errNoMonitor = errors.New("it does not run in QEMU, and has no monitor")

// A qmp is a connection to QEMU's monitor, see docs/interop/qmp-spec.rst in QEMU.
type qmp struct {
	conn    net.Conn
	replies chan qmpReply
	one     chan struct{} // holds a token while no command runs: replies come in order

	mu     sync.Mutex
	events []Event
	more   chan struct{} // closed and replaced when there is an event, or the connection is gone
	gone   bool
}

type qmpReply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

func newQMP(ctx context.Context, conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, replies: make(chan qmpReply, 1), one: make(chan struct{}, 1), more: make(chan struct{})}
	q.one <- struct{}{}
	go q.receive()
	_, err := q.execute(ctx, "qmp_capabilities", nil)
	return q, err
}

func (q *qmp) close() { q.conn.Close() }

func (q *qmp) receive() {
	lines := bufio.NewReader(q.conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var message struct {
			Event
			qmpReply
		}
		switch err := json.Unmarshal(line, &message); {
		case err != nil:
		case message.Name != "":
			q.mu.Lock()
			q.events = append(q.events, message.Event)
			q.wake()
			q.mu.Unlock()
		case message.Return != nil || message.Error != nil:
			q.replies <- message.qmpReply
		}
	}
	close(q.replies)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone = true
	q.wake()
}

func (q *qmp) wake() {
	close(q.more)
	q.more = make(chan struct{})
}

func (q *qmp) execute(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return nil, err
	}
	select {
	case <-q.one:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if _, err := q.conn.Write(append(line, '\n')); err != nil {
		q.one <- struct{}{}
		return nil, fmt.Errorf("%w: %w", ErrExited, err)
	}
	select {
	case reply, ok := <-q.replies:
		q.one <- struct{}{}
		switch {
		case !ok:
			return nil, ErrExited
		case reply.Error != nil:
			return nil, fmt.Errorf("%s: %s", reply.Error.Class, reply.Error.Desc)
		}
		return reply.Return, nil
	case <-ctx.Done():
		// The reply may come yet and belongs to nobody else.
		go func() {
			<-q.replies
			q.one <- struct{}{}
		}()
		return nil, ctx.Err()
	}
}

func (q *qmp) waitEvent(ctx context.Context, names []string) (Event, error) {
	for {
		q.mu.Lock()
		for i, event := range q.events {
			if slices.Contains(names, event.Name) {
				q.events = q.events[i+1:]
				q.mu.Unlock()
				return event, nil
			}
		}
		more, gone := q.more, q.gone
		q.mu.Unlock()
		if gone {
			return Event{}, ErrExited
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}
