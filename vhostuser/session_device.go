package vhostuser

// Messages about the device as a whole: its configuration, its status, and reset.

// sendRARP is SEND_RARP. "The first 6 bytes of the payload contain the mac address of the guest."
func (s *Session) sendRARP(m *Message) error {
	s.hooks.rarp.RARP([6]byte(m.Payload))
	return nil
}

// setMTU is NET_SET_MTU. "The back-end must respond with zero in case the specified MTU is valid,
// or non-zero otherwise." QEMU sends it before SET_FEATURES, so that it is not yet known whether
// VIRTIO_NET_F_MTU is negotiated.
func (s *Session) setMTU(mtu uint64) error {
	if mtu > 0xffff { // virtio 1.2, section 5.1.4: le16 mtu
		return refuse("MTU of %d bytes", mtu)
	}
	if err := s.hooks.mtu.SetMTU(int(mtu)); err != nil {
		return refuse("MTU of %d bytes: %w", mtu, err)
	}
	s.update(func(st *State) { st.MTU = int(mtu) })
	return nil
}

// getConfig is GET_CONFIG: "vhost-user back-end's payload size MUST match the front-end's request,
// vhost-user back-end uses zero length of payload to indicate an error". A front-end may know a
// longer configuration space than the device: fields that the device does not have are zero.
func (s *Session) getConfig(m *Message) (reply, error) {
	c, err := decodeConfigAccess(m.Payload, true)
	if err != nil {
		return reply{}, err
	}
	if uint64(c.Offset)+uint64(c.Size) > MaxConfigSize {
		return reply{payload: []byte{}}, nil
	}
	c.Data = make([]byte, c.Size)
	if space := s.hooks.config.ReadConfig(); int(c.Offset) < len(space) {
		copy(c.Data, space[c.Offset:])
	}
	return reply{payload: c.AppendTo(nil)}, nil
}

// setConfig is SET_CONFIG. "The vhost-user back-end must check the flags field."
func (s *Session) setConfig(m *Message) error {
	c, err := decodeConfigAccess(m.Payload, false)
	switch {
	case err != nil:
		return err
	case c.Flags != ConfigWritable && c.Flags != ConfigMigration:
		return refuse("flags %#x", c.Flags)
	case uint64(c.Offset)+uint64(c.Size) > uint64(len(s.hooks.config.ReadConfig())):
		return refuse("%d bytes at %d are not in the configuration space", c.Size, c.Offset)
	}
	if err := s.hooks.config.WriteConfig(int(c.Offset), c.Data, c.Flags == ConfigMigration); err != nil {
		return refuse("%d bytes at %d of the configuration space: %w", c.Size, c.Offset, err)
	}
	return nil
}

// Bits of the device status (virtio 1.2, section 2.1).
const statusFeaturesOK = 8

// setStatus is SET_STATUS: "notify the back-end with updated device status as defined in the Virtio
// specification". There, a status of 0 resets the device, and FEATURES_OK stays set only if the
// device accepts the features.
func (s *Session) setStatus(status uint64) error {
	if status > 0xff {
		return refuse("device status %#x has more than 8 bits", status)
	}
	if status == 0 {
		s.resetDevice()
		return nil
	}
	if s.state.FeaturesRefused {
		status &^= statusFeaturesOK
	}
	s.update(func(st *State) { st.Status = uint8(status) })
	return nil
}

// resetDevice is RESET_DEVICE: "disable all rings and reset all internal device state to the
// initial state, ready to be reinitialized. The back-end retains ownership of the device
// throughout the reset operation." The state of the connection is kept: protocol features,
// memory, the log, the channel to the front-end; and so are the eventfds for signals, which QEMU
// does not send again.
func (s *Session) resetDevice() {
	for i := range s.queues {
		s.stopRing(i)
	}
	old := s.state.clone()
	s.update(func(st *State) {
		for i, v := range st.Vrings {
			st.Vrings[i] = Vring{Kick: -1, Call: v.Call, HasCall: v.HasCall, CallSocket: v.CallSocket, Err: v.Err}
		}
		st.Features, st.FeaturesRefused, st.Status = 0, false, 0
	})
	s.dropInflight() // "QEMU should retrieve a new one when vm reset"
	for i, v := range old.Vrings {
		closeFD(v.Kick)
		if v.Enabled {
			s.dev.RingEnabled(i, false)
		}
	}
	if old.Features&^(1<<FeatureLogAll) != 0 {
		s.dev.FeaturesSet(0)
	}
}
