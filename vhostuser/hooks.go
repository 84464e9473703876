package vhostuser

// What a device may implement besides Device. The session looks once, when it
// starts, and offers a protocol feature only to a front-end of a device that
// does what the feature needs (and wants it: see [Device.ProtocolFeatures]).
//
// As with Device, the session's goroutine calls all methods, and holds no lock.

// A RARPer can tell the network where its guest is now, for a guest that does not do
// that itself (protocol feature RARP).
type RARPer interface {
	// RARP is SEND_RARP: "Ask vhost user back-end to broadcast a fake RARP to
	// notify the migration is terminated for guest that does not support
	// GUEST_ANNOUNCE." mac is the guest's address.
	RARP(mac [6]byte)
}

// An MTUSetter is a network device that its front-end tells the MTU of the guest's
// network (protocol feature NET_MTU).
type MTUSetter interface {
	// SetMTU is NET_SET_MTU: "Set host MTU value exposed to the guest." An
	// error says that it "is not valid" for the device; the front-end is told so
	// and does not start the device.
	SetMTU(mtu int) error
}

// A Configurer has a configuration space that its front-end asks for (protocol
// feature CONFIG). A device that changes it calls Session.ConfigChanged.
type Configurer interface {
	// ReadConfig returns the whole configuration space as it is now, as the
	// driver sees it (virtio 1.2, section 2.5; little-endian), of at most
	// MaxConfigSize bytes. The session copies it at once.
	ReadConfig() []byte

	// WriteConfig writes data, which it must not keep, at an offset in bytes.
	// migration: the front-end moves a device's state here; else the driver
	// writes, and "back-ends MUST NOT accept SET_CONFIG for read-only
	// configuration space fields unless the live migration bit is set".
	WriteConfig(offset int, data []byte, migration bool) error
}

// A Sequential device completes all chains in the order in which they were
// available. After a crash of the back-end it can then go on from where the ring in guest
// memory says (virtqueue's Queue.Resume), which is right whatever the front-end
// believes: DPDK's virtio-user sends 0 as the base. Some chains may be processed twice.
// Where memory for descriptors in flight was set up, that knows better.
type Sequential interface {
	Sequential() bool
}

// A DriverEnder hears of the end of a driver that none of the messages for it has told of: the
// front-end has disabled all rings, and sets one up again that was not stopped. (After a reset
// Device.FeaturesSet tells of it.)
type DriverEnder interface {
	// DriverEnded is called before the ring starts again, for each ring that is found so.
	DriverEnded()
}

// hooks are what a device implements of the above; nil: not.
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

// missing returns the protocol features that cannot be offered for want of hooks.
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
