package vhostuser

import (
	"fmt"
	"slices"

	"vswitchd/virtqueue"
)

// vring returns a copy of the configuration of the vring with the given index. The index is
// compared at the width that it has in the message.
func (s *Session) vring(index uint32) (int, Vring, error) {
	if uint64(index) >= uint64(len(s.state.Vrings)) {
		return 0, Vring{}, refuse("vring %d, there are %d", index, len(s.state.Vrings))
	}
	return int(index), s.state.Vrings[index], nil
}

// A driver may end with no message about its rings except SET_VRING_ENABLE 0: User Mode Linux
// sends nothing else before it sets the rings up for the next driver. A message that sets up a
// ring which is started and disabled therefore stops that ring first. Front-ends that use a
// disabled ring again unchanged (QEMU, when the guest changes its number of queues) send none of
// these messages, except SET_VRING_ADDR with the same addresses and another flag for logging,
// which leaves the ring started.

// endRing stops vring i and drops its eventfd for kicks.
func (s *Session) endRing(i int) {
	kick := s.state.Vrings[i].Kick
	s.stopRing(i)
	s.update(func(st *State) {
		st.Vrings[i].Started = false
		st.Vrings[i].Kick, st.Vrings[i].OwnKick = -1, false
	})
	closeFD(kick)
}

// endImplicitly is endRing for a ring that is set up again without having been stopped.
func (s *Session) endImplicitly(i int) {
	s.endRing(i)
	if s.hooks.ender != nil && s.inUse() < 0 {
		s.hooks.ender.DriverEnded()
	}
}

// endDisabled stops all vrings that are started. The caller has checked with inUse that all of
// these are disabled.
func (s *Session) endDisabled() {
	for i, v := range s.state.Vrings {
		if v.Started {
			s.endRing(i)
		}
	}
}

// inUse returns the index of a vring that is started and enabled, or -1.
func (s *Session) inUse() int { return slices.IndexFunc(s.state.Vrings, Vring.inUse) }

// setVringNum is SET_VRING_NUM: "Set the size of the queue."
func (s *Session) setVringNum(m VringState) error {
	i, v, err := s.vring(m.Index)
	if err != nil {
		return err
	}
	switch {
	case m.Num < 1 || m.Num > virtqueue.MaxSize:
		return refuse("vring %d of size %d, want 1 to %d", i, m.Num, virtqueue.MaxSize)
	case m.Num&(m.Num-1) != 0 && !s.packed():
		return refuse("vring %d of size %d, which is not a power of two", i, m.Num)
	case v.inUse() && v.Size != int(m.Num):
		return refuse("size of vring %d changes while it is in use", i)
	case v.Started && !v.Enabled:
		s.endImplicitly(i)
	}
	s.update(func(st *State) { st.Vrings[i].Size = int(m.Num) })
	return nil
}

// setVringAddr is SET_VRING_ADDR: "Sets the addresses of the different aspects of the vring." They
// are translated when the ring starts. While it runs, logging of writes to the used ring may be
// switched: "the front-end may send messages [...] SET_VRING_ADDR with VHOST_VRING_F_LOG in ring's
// flags set to 1/0".
func (s *Session) setVringAddr(m VringAddr) error {
	i, v, err := s.vring(m.Index)
	if err != nil {
		return err
	}
	n := v
	n.HasAddr = true
	n.Flags, n.Desc, n.Used, n.Avail, n.Log = m.Flags, m.Desc, m.Used, m.Avail, m.Log
	place := n
	place.Flags, place.Log = v.Flags, v.Log
	switch {
	case n.Flags != 0 && s.features()&(1<<FeatureLogAll) == 0:
		return refuse("vring %d with flags %#x, but logging was not offered", i, n.Flags)
	case n.Flags&^VringFlagLog != 0:
		return refuse("vring %d with unknown flags %#x", i, n.Flags)
	case v.inUse() && place != v:
		return refuse("addresses of vring %d change while it is in use", i)
	}
	if s.logging() {
		if err := s.vringLogFits(s.state.Log.Size, i, n); err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	if v.Started && place != v {
		s.endImplicitly(i)
	}
	s.update(func(st *State) {
		r := &st.Vrings[i]
		r.HasAddr = true
		r.Flags, r.Desc, r.Used, r.Avail, r.Log = n.Flags, n.Desc, n.Used, n.Avail, n.Log
	})
	if q := s.queues[i]; q != nil && n != v {
		s.quiesced(func() { s.attachLog(i, q) })
	}
	return nil
}

// setVringBase is SET_VRING_BASE: "For a split virtqueue, sets only the next descriptor index to
// process in the Available Ring. The device is supposed to read the next index in the Used Ring
// from the respective vring structure in guest memory."
func (s *Session) setVringBase(m VringState) error {
	i, v, err := s.vring(m.Index)
	switch {
	case err != nil:
		return err
	case v.inUse():
		return refuse("base of vring %d changes while it is in use", i)
	case m.Num > 0xffff && !s.packed(): // "Bits 16-31: Reserved (set to zero)"
		return refuse("base %#x of vring %d has more than 16 bits", m.Num, i)
	case v.Started:
		s.endImplicitly(i)
	}
	s.update(func(st *State) { st.Vrings[i].Base = m.Num })
	return nil
}

// getVringBase is GET_VRING_BASE: "Stops the vring and returns the current descriptor index". A
// vring that was never started is accepted: front-ends stop all vrings that they know of.
func (s *Session) getVringBase(m VringState) (reply, error) {
	i, _, err := s.vring(m.Index)
	if err != nil {
		return reply{}, err
	}
	s.endRing(i)
	return reply{payload: VringState{Index: m.Index, Num: s.state.Vrings[i].Base}.AppendTo(nil)}, nil
}

// vringFD decodes a message that sets an eventfd of a vring. fd is -1 if there is none; otherwise
// the message still owns it.
func (s *Session) vringFD(m *Message) (i int, v Vring, fd int, err error) {
	f, err := decodeVringFile(m.Payload)
	if err != nil {
		return 0, Vring{}, -1, err
	}
	if i, v, err = s.vring(uint32(f.Index)); err != nil {
		return 0, Vring{}, -1, err
	}
	if f.NoFD {
		return i, v, -1, nil
	}
	return i, v, m.FDs[0], nil
}

// vringEventFD is vringFD for a descriptor that has to be an eventfd.
func (s *Session) vringEventFD(m *Message) (i int, v Vring, fd int, err error) {
	if i, v, fd, err = s.vringFD(m); err == nil && fd >= 0 {
		err = checkEventFD(fd)
	}
	return i, v, fd, err
}

// setVringKick is SET_VRING_KICK: "Set the event file descriptor for adding buffers to the vring."
// It starts the ring; a running ring is stopped and started.
//
// "Previous versions of this specification stated that rings start when the back-end receives a
// kick": to support front-ends of either version, the device looks at the ring now, without
// waiting for a kick.
func (s *Session) setVringKick(m *Message) error {
	i, _, fd, err := s.vringEventFD(m)
	if err != nil {
		return err
	}
	if err := s.start(i, fd, false); err != nil {
		return err
	}
	if fd >= 0 {
		m.TakeFD(0)
	}
	return nil
}

// start starts vring i, after stopping it if necessary. own means that the eventfd for kicks was
// made here. The state owns the eventfd afterwards, unless there was an error.
func (s *Session) start(i, kick int, own bool) error {
	v := s.state.Vrings[i]
	if v.Size == 0 || !v.HasAddr {
		return refuse("vring %d is started without a size or without addresses", i)
	}
	if s.logging() {
		if err := s.vringLogFits(s.state.Log.Size, i, v); err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	s.stopRing(i)
	q, err := s.newQueue(i)
	if err != nil {
		return err
	}
	if err := s.setUpInband(i); err != nil {
		return err
	}
	s.update(func(st *State) {
		st.Vrings[i].Started = true
		st.Vrings[i].Kick, st.Vrings[i].OwnKick = kick, own
		// "If VHOST_USER_F_PROTOCOL_FEATURES has not been negotiated, the ring starts
		// directly in the enabled state."
		if st.Features&(1<<FeatureProtocolFeatures) == 0 {
			st.Vrings[i].Enabled = true
		}
	})
	closeFD(v.Kick)
	if s.wantsLog() && s.dirty == nil {
		s.log.Info("ring is suspended: there is no log of dirty pages yet", "ring", i)
	} else if err := s.startRing(i, q); err != nil {
		s.update(func(st *State) {
			st.Vrings[i].Started = false
			st.Vrings[i].Kick, st.Vrings[i].OwnKick = -1, false
		})
		return err
	}
	s.sendPendingConfigChange()
	return nil
}

// setVringCall is SET_VRING_CALL: "Set the event file descriptor to signal when buffers are used."
// The driver may have missed a signal through its previous descriptor, or before it had one, so it
// is signalled now.
//
// User Mode Linux passes a socket instead, unless notifications are in-band.
func (s *Session) setVringCall(m *Message) error {
	i, v, fd, err := s.vringFD(m)
	if err != nil {
		return err
	}
	var r *relay
	socket := -1
	switch {
	case fd >= 0 && isStreamSocket(fd):
		if fd, r, err = newRelay(sendSignals(fd)); err != nil {
			return err
		}
		socket = m.TakeFD(0)
	case fd >= 0:
		if err := checkEventFD(fd); err != nil {
			return err
		}
		m.TakeFD(0)
	}
	s.update(func(*State) { s.callFDs.next = fd })
	if q := s.queues[i]; q != nil {
		s.checkCallFDs() // neither eventfd may block: the device is about to wait
		resume := s.dev.Quiesce()
		q.SetCall(fd)
		q.Signal()
		resume()
		s.checkCallFDs() // includes the old one for the last time
	}
	s.endRelay(i)
	s.relays[i] = r
	s.update(func(st *State) {
		st.Vrings[i].Call, st.Vrings[i].HasCall, st.Vrings[i].CallSocket = fd, true, socket
		s.callFDs.next = -1
	})
	return s.conn.blocking.close(v.Call, v.CallSocket)
}

// setVringErr is SET_VRING_ERR: "Set the event file descriptor to signal when error occurs." The
// eventfd is stored and not used: errors end the session, which tells the front-end more.
func (s *Session) setVringErr(m *Message) error {
	i, v, fd, err := s.vringEventFD(m)
	if err != nil {
		return err
	}
	if fd >= 0 {
		m.TakeFD(0)
	}
	s.update(func(st *State) { st.Vrings[i].Err = fd })
	closeFD(v.Err)
	return nil
}

// setVringEnable is SET_VRING_ENABLE: "Signal the back-end to enable or disable corresponding
// vring. This request should be sent only when VHOST_USER_F_PROTOCOL_FEATURES has been
// negotiated." QEMU sends it before that; and front-ends send it before a ring is started as well
// as after: "The enabled/disabled state should still be tracked, though, so it can come into
// effect once the ring is started."
func (s *Session) setVringEnable(m VringState) error {
	i, _, err := s.vring(m.Index)
	if err != nil {
		return err
	}
	if m.Num > 1 {
		return refuse("vring %d is enabled with %d, want 0 or 1", i, m.Num)
	}
	s.enableRing(i, m.Num == 1)
	return nil
}

func (s *Session) enableRing(i int, on bool) {
	if s.state.Vrings[i].Enabled == on {
		return
	}
	s.update(func(st *State) { st.Vrings[i].Enabled = on })
	s.dev.RingEnabled(i, on)
}

// disableRings is RESET_OWNER: "It is recommended that back-ends either ignore this message, or use
// it to disable all rings." DPDK's virtio-user before 18.x sends nothing else when it stops, and
// sets its rings up anew when it continues.
func (s *Session) disableRings() {
	for i := range s.state.Vrings {
		s.enableRing(i, false)
	}
}

// newQueue makes the queue of vring i from its configuration.
func (s *Session) newQueue(i int) (*virtqueue.Queue, error) {
	v := s.state.Vrings[i]
	cfg := virtqueue.Config{
		Size:     v.Size,
		Desc:     v.Desc,
		Avail:    v.Avail,
		Used:     v.Used,
		Features: s.state.Features &^ (1 << FeatureLogAll),
		Base:     v.Base,
	}
	if err := s.provideRing(cfg); err != nil {
		return nil, refuse("vring %d: %w", i, err)
	}
	q, err := virtqueue.New(s.memory.Load(), cfg)
	if err != nil {
		return nil, refuse("vring %d: %w", i, err)
	}
	s.attachLog(i, q)
	if err := q.BeginUnused(); err != nil {
		return nil, refuse("vring %d: %w", i, err)
	}
	if area := s.inflightOf(i); area != nil {
		err = q.SetInflight(area)
	} else if s.hooks.sequential {
		err = q.Resume()
	}
	if err != nil {
		return nil, refuse("vring %d: %w", i, err)
	}
	return q, nil
}

// packed reports whether rings have the packed format.
func (s *Session) packed() bool {
	return s.state.Features&(1<<virtqueue.FeatureRingPacked) != 0
}

// startRing passes vring i to the device. The driver is signalled once: it may be waiting for a
// back-end that died.
func (s *Session) startRing(i int, q *virtqueue.Queue) error {
	v := s.state.Vrings[i]
	q.SetCall(v.Call)
	q.Signal()
	if err := s.dev.RingStarted(Ring{Index: i, Enabled: v.Enabled, Queue: q, Kick: v.Kick}); err != nil {
		return refuse("starting vring %d: %w", i, err)
	}
	s.queues[i] = q
	s.update(func(st *State) { st.Vrings[i].Running = true })
	return nil
}

// stopRing takes vring i away from the device, if the device has it.
func (s *Session) stopRing(i int) {
	q := s.queues[i]
	if q == nil {
		return
	}
	s.dev.RingStopped(i)
	s.queues[i] = nil
	s.update(func(st *State) {
		st.Vrings[i].Base = q.Base()
		st.Vrings[i].Running = false
	})
}
