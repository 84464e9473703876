package vhostuser

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"vswitchd/virtqueue"
)

// ErrBusy is wrapped by the error of Session.Freeze for a session that is waiting for its
// front-end.
var ErrBusy = errors.New("session is busy")

// A Saved session is what another process needs to go on with the session, besides its connection.
// In the State of a running ring, Base is the position at which the ring continues.
type Saved struct {
	State

	ConfigPending bool  `json:"config_pending,omitempty"` // the front-end is to be told of a change when a ring starts
	SendConfig    bool  `json:"send_config,omitempty"`    // CONFIG_CHANGE_MSG is to be sent
	SendCalls     []int `json:"send_calls,omitempty"`     // vrings for which VRING_CALL is to be sent
}

// EachFD calls f with the address of each file descriptor of the state, -1 included. The order is
// the same for states with as many regions and vrings.
func (st *State) EachFD(f func(fd *int) error) error {
	fds := []*int{&st.BackendFD, &st.Log.FD, &st.Log.EventFD, &st.Inflight.FD}
	for i := range st.Regions {
		fds = append(fds, &st.Regions[i].FD)
	}
	for i := range st.Vrings {
		v := &st.Vrings[i]
		fds = append(fds, &v.Kick, &v.Call, &v.Err, &v.CallSocket)
	}
	for _, fd := range fds {
		if err := f(fd); err != nil {
			return err
		}
	}
	return nil
}

// Freeze stops all work of the session and of its device on the front-end's rings and memory, until
// thaw is called, and returns the session's state. The caller has Options.Gate of the session, and
// keeps the gate until after thaw. No worker of the device may be waiting for another session that
// is frozen.
//
// If a request to the front-end is not answered within wait, the error wraps ErrBusy.
func (s *Session) Freeze(wait time.Duration) (saved Saved, thaw func(), err error) {
	c := s.channel.Load()
	if c != nil && !c.gate.EnterWithin(wait) {
		return Saved{}, nil, fmt.Errorf("%w: the front-end has not answered a request", ErrBusy)
	}
	resume := func() {}
	if s.running() {
		resume = s.dev.Quiesce()
	}
	// A relay that went on would take signals of the next process, which has the same eventfd.
	// Signals that no relay has read stay in the eventfd.
	for i := range s.relays {
		s.endRelay(i)
	}
	saved = Saved{State: s.Snapshot()}
	s.mu.Lock()
	saved.ConfigPending = s.configPending
	s.mu.Unlock()
	for i, q := range s.queues {
		if q != nil {
			saved.Vrings[i].Base = q.Base()
		}
	}
	if c != nil {
		saved.SendConfig, saved.SendCalls = c.pending()
	}
	return saved, func() {
		if err := s.resumeRelays(); err != nil {
			s.Fail(err)
		}
		resume()
		if c != nil {
			c.gate.Leave()
		}
	}, nil
}

// Connection returns the file descriptor of the session's connection, which stays the session's.
func (s *Session) Connection() (fd int) {
	fd = -1
	_ = s.conn.raw.Control(func(n uintptr) { fd = int(n) })
	return fd
}

// pending returns what is to be sent.
func (c *channel) pending() (config bool, calls []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w, set := range c.calls {
		for ; set != 0; set &= set - 1 {
			calls = append(calls, 64*w+bits.TrailingZeros64(set))
		}
	}
	return c.config, calls
}

// newDirtyLog returns the log of dirty pages in a mapping, nil if there is no mapping.
func newDirtyLog(m mapping) (*virtqueue.DirtyLog, error) {
	if m.all == nil {
		return nil, nil
	}
	return virtqueue.NewDirtyLog(m.mem)
}
