package vhostuser

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// setBackendReqFD is SET_BACKEND_REQ_FD: "Set the socket file descriptor for back-end initiated
// requests." A front-end may replace the socket.
func (s *Session) setBackendReqFD(m *Message) error {
	c, err := newChannel(s.conn.blocking, m.FDs[0], s.negotiated(ProtocolFeatureReplyAck))
	if err != nil {
		return err
	}
	if old := s.channel.Swap(c); old != nil {
		old.close()
	}
	had, fd := s.state.BackendFD, m.TakeFD(0)
	s.update(func(st *State) { st.BackendFD = fd })
	if err := s.conn.blocking.close(had); err != nil {
		return err
	}
	// Signals may have been lost while there was no channel.
	for i, r := range s.relays {
		if v := s.state.Vrings[i]; r != nil && !v.HasCall && v.Started {
			c.call(i)
		}
	}
	return nil
}

// A ChannelState is the state of the channel for requests to the front-end.
type ChannelState int

// Values of ChannelState.
const (
	ChannelNone   ChannelState = iota // the front-end has not set one
	ChannelOpen                       // the channel is open
	ChannelClosed                     // found closed, or against the rules, at its last use
)

// Channel returns the state of the channel for requests to the front-end. It may be called
// from any goroutine.
func (s *Session) Channel() ChannelState {
	c := s.channel.Load()
	if c == nil {
		return ChannelNone
	}
	select {
	case <-c.done:
		return ChannelClosed
	default:
		return ChannelOpen
	}
}

// ConfigChanged notifies the front-end that the device's configuration space has changed ("the
// virtio device's configuration space has changed, [...] host driver can send GET_CONFIG message
// to the back-end to get the latest content"), if CONFIG is negotiated. While all rings are
// stopped the device is suspended and "must [...] not send any messages to the front-end": the
// notification is then sent when a ring starts. ConfigChanged may be called from any goroutine
// and does not wait.
func (s *Session) ConfigChanged() {
	s.mu.Lock()
	want, now := s.negotiated(ProtocolFeatureConfig), s.started()
	s.configPending = s.configPending || want && !now
	s.mu.Unlock()
	if c := s.channel.Load(); c != nil && want && now {
		c.configChanged()
	}
}

// sendPendingConfigChange sends a notification that was deferred while all rings were stopped.
func (s *Session) sendPendingConfigChange() {
	s.mu.Lock()
	pending := s.configPending
	s.configPending = false
	s.mu.Unlock()
	if pending {
		s.ConfigChanged()
	}
}

// In-band notifications
//
// "In some limited situations (e.g. for simulation) it is desirable to have the kick, call and
// error (if used) signals done via in-band messages instead of asynchronous eventfd notifications."
// This is transparent to the device: its rings have eventfds in any case, made here. VRING_KICK
// signals the one for kicks, and a relay reads the one for calls and sends VRING_CALL. An eventfd
// from the front-end, or its statement that there is none, takes precedence.

// vringKick is VRING_KICK: "indicate that a buffer was added to the vring instead of signalling it
// using the vring's kick file descriptor or having the back-end rely on polling. The state.num
// field is currently reserved and must be set to 0." The first one starts a ring that
// SET_VRING_KICK has not started.
func (s *Session) vringKick(m VringState) error {
	i, v, err := s.vring(m.Index)
	if err != nil {
		return err
	}
	if m.Num != 0 {
		return refuse("vring %d is kicked with %d, want 0", i, m.Num)
	}
	if !v.Started {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return fmt.Errorf("eventfd: %w", nameFileLimit(err))
		}
		if err := s.start(i, fd, true); err != nil {
			closeFD(fd)
			return err
		}
		return nil
	}
	if v.OwnKick {
		// The eventfd is private and non-blocking: when its counter is full, a signal
		// is pending anyway.
		_, _ = unix.Write(v.Kick, []byte{0: 1, 7: 0})
	}
	return nil
}

// setUpInband gives vring i an eventfd whose signals are sent as messages, if the front-end
// negotiated that and has not set one.
func (s *Session) setUpInband(i int) error {
	if !s.negotiated(ProtocolFeatureInbandNotifications) || s.state.Vrings[i].HasCall || s.relays[i] != nil {
		return nil
	}
	fd, r, err := newRelay(s.callInband(i))
	if err != nil {
		return err
	}
	s.relays[i] = r
	s.update(func(st *State) { st.Vrings[i].Call = fd })
	return nil
}

// callInband returns a function that sends VRING_CALL for vring i.
func (s *Session) callInband(i int) func() {
	return func() {
		if c := s.channel.Load(); c != nil {
			c.call(i)
		}
	}
}
