package vhostuser

// Interfaces that a device may implement besides Device. The session checks once, when it starts,
// and offers a protocol feature only if the device implements the interface that the feature needs
// (and offers the feature: see [Device.ProtocolFeatures]).
//
// As with Device, the session's goroutine calls all methods, and holds no lock.

// A RARPer announces its guest's location to the network, for a guest that does not do so itself
// (protocol feature RARP).
type RARPer interface {
	// RARP is SEND_RARP: "Ask vhost user back-end to broadcast a fake RARP to notify the
	// migration is terminated for guest that does not support GUEST_ANNOUNCE." mac is the
	// guest's address.
	RARP(mac [6]byte)
}

// An MTUSetter is a network device whose front-end can set the MTU of the guest's network (protocol
// feature NET_MTU).
type MTUSetter interface {
	// SetMTU is NET_SET_MTU: "Set host MTU value exposed to the guest." An error says that
	// the MTU "is not valid" for the device; the front-end receives a failure and does not
	// start the device.
	SetMTU(mtu int) error
}

// A Configurer has a configuration space that its front-end reads and writes (protocol feature
// CONFIG). When the device changes the space it calls Session.ConfigChanged.
type Configurer interface {
	// ReadConfig returns the whole current configuration space, as the driver sees it
	// (virtio 1.2, section 2.5; little-endian), of at most MaxConfigSize bytes. The session
	// copies it at once.
	ReadConfig() []byte

	// WriteConfig writes data, which it must not keep, at an offset in bytes. If migration is
	// true, the front-end is restoring a migrated device's state; otherwise the driver writes,
	// and "back-ends MUST NOT accept SET_CONFIG for read-only configuration space fields unless
	// the live migration bit is set".
	WriteConfig(offset int, data []byte, migration bool) error
}

// A Sequential device completes all chains in the order in which they were made available. After a
// crash of the back-end its position can then be derived from the ring in guest memory
// (virtqueue's Queue.Resume), which is right whatever base the front-end sends: DPDK's virtio-user
// sends 0. Some chains may be processed twice. Memory for descriptors in flight, if it was set up,
// takes precedence.
type Sequential interface {
	Sequential() bool
}

// A DriverEnder is notified of the end of a driver that no message has announced: the front-end has
// disabled all rings, and sets one up again that was not stopped. (After a reset,
// Device.FeaturesSet announces the end.)
type DriverEnder interface {
	// DriverEnded is called before the ring starts again, for each such ring.
	DriverEnded()
}

// hooks are the interfaces above that a device implements; nil: not implemented.
type hooks struct {
	rarp   RARPer
	mtu    MTUSetter
	config Configurer
	ender  DriverEnder

	sequential bool
}

func hooksOf(dev Device) hooks {
	var h hooks
	h.rarp, _ = dev.(RARPer)
	h.mtu, _ = dev.(MTUSetter)
	h.config, _ = dev.(Configurer)
	h.ender, _ = dev.(DriverEnder)
	if d, ok := dev.(Sequential); ok {
		h.sequential = d.Sequential()
	}
	return h
}

// missing returns the protocol features that cannot be offered because the device lacks the
// interface.
func (h hooks) missing() uint64 {
	var f uint64
	if h.rarp == nil {
		f |= 1 << ProtocolFeatureRARP
	}
	if h.mtu == nil {
		f |= 1 << ProtocolFeatureNetMTU
	}
	if h.config == nil {
		f |= 1 << ProtocolFeatureConfig
	}
	return f
}
