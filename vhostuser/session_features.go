package vhostuser

import "fmt"

// features returns the virtio features that are offered. LOG_ALL is offered only with LOG_SHMFD,
// which is the only way to set up a log of dirty pages.
func (s *Session) features() uint64 {
	f := s.dev.Features()&^(1<<FeatureLogAll) | 1<<FeatureProtocolFeatures
	if s.protocolFeatures()&(1<<ProtocolFeatureLogShmFD) != 0 {
		f |= 1 << FeatureLogAll
	}
	return f
}

// protocolFeatures returns the protocol features that are offered: those that the device offers and
// that both the device and this package implement.
func (s *Session) protocolFeatures() uint64 {
	f := s.dev.ProtocolFeatures() & supportedProtocolFeatures &^ s.hooks.missing()
	if f&inbandNeeds != inbandNeeds {
		f &^= 1 << ProtocolFeatureInbandNotifications
	}
	return f
}

// inbandNeeds: "It is also considered an error to negotiate [INBAND_NOTIFICATIONS] without also
// negotiating BACKEND_REQ and REPLY_ACK."
const inbandNeeds = 1<<ProtocolFeatureBackendReq | 1<<ProtocolFeatureReplyAck

// An offer is the set of features that a front-end may acknowledge. It does not change
// during a session.
type offer struct{ features, protocolFeatures uint64 }

// recordOffer stores the offer for Offered.
func (s *Session) recordOffer() {
	o := offer{s.features(), s.protocolFeatures()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offered = o
}

// Offered returns the virtio features and the protocol features that are offered to the front-end.
// It may be called from any goroutine.
func (s *Session) Offered() (features, protocolFeatures uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offered.features, s.offered.protocolFeatures
}

// setFeatures is SET_FEATURES: "Enable features in the underlying vhost implementation
// using a bitmask."
//
// Front-ends send it again while rings run: QEMU does so for each queue pair that it starts, with
// the features that it has sent before. That does not affect rings, enabled or not. But the format
// of a ring cannot change while a driver uses it: a change of features is refused if a ring is in
// use, and stops disabled rings (see endRing). A change of LOG_ALL does neither: "To start/stop
// logging of data/used ring writes, the front-end may send messages SET_FEATURES with
// VHOST_F_LOG_ALL".
func (s *Session) setFeatures(features uint64) error {
	err := s.changeFeatures(features)
	s.update(func(st *State) { st.FeaturesRefused = err != nil })
	return err
}

func (s *Session) changeFeatures(features uint64) error {
	const logAll = 1 << FeatureLogAll
	if extra := features &^ s.features(); extra != 0 {
		return refuse("features %#x were not offered", extra)
	}
	change := features ^ s.state.Features
	if change&^logAll != 0 {
		if i := s.inUse(); i >= 0 {
			return refuse("features change from %#x to %#x while vring %d is in use", s.state.Features, features, i)
		}
	}
	if change&features&logAll != 0 && s.dirty != nil {
		if err := s.logFits(s.state.Log.Size, s.state.Regions); err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	if change&^logAll != 0 {
		s.endDisabled()
	}
	s.update(func(st *State) { st.Features = features })
	if change&logAll != 0 {
		s.applyLog()
	}
	if change&^logAll != 0 {
		s.dev.FeaturesSet(features &^ logAll)
	}
	return nil
}

// setProtocolFeatures is SET_PROTOCOL_FEATURES: "Enable protocol features in the underlying vhost
// implementation." Neither GET_PROTOCOL_FEATURES nor SET_FEATURES has to precede it.
func (s *Session) setProtocolFeatures(features uint64) error {
	if extra := features &^ s.protocolFeatures(); extra != 0 {
		return refuse("protocol features %#x were not offered", extra)
	}
	if features&(1<<ProtocolFeatureInbandNotifications) != 0 && features&inbandNeeds != inbandNeeds {
		// "As it has no other way of signalling this error, the back-end should close
		// the connection."
		return fmt.Errorf("%w: INBAND_NOTIFICATIONS without BACKEND_REQ and REPLY_ACK", errClose)
	}
	s.update(func(st *State) { st.ProtocolFeatures = features })
	return nil
}
