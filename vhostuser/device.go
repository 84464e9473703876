package vhostuser

import "vswitchd/virtqueue"

// Device is what a program implements to be a vhost-user device.
//
// The session calls all methods from its one goroutine, never two at a time,
// and holds no lock meanwhile: the device may wait for its own data-plane
// goroutines in any of them. Those in turn may call [Session.Fail],
// [Session.Contains], [Session.ConfigChanged] and what tells of the session
// ([Session.Snapshot], [Session.Offered], [Session.Channel]) at any time; none of these
// waits for the session's goroutine, so this cannot deadlock.
type Device interface {
	// Attach is called once, before any other method, with the session that
	// the device now belongs to. It is valid until Serve returns.
	Attach(s *Session)

	// Features returns the virtio feature bits that the device offers (virtio
	// 1.2, section 6 and the device's own section). The session adds
	// FeatureProtocolFeatures, and FeatureLogAll with ProtocolFeatureLogShmFD. A
	// front-end acknowledges all that it understands without asking anybody, so
	// offer only what works.
	Features() uint64

	// ProtocolFeatures returns the ProtocolFeature bits that the device offers.
	// The session drops those that this package does not implement, and those for
	// which the device has to be more than a Device, and is not; see hooks.go.
	// With ProtocolFeatureLogShmFD the device must write to guest memory nowhere
	// but in chains' Writable pieces, and complete them with what it wrote.
	ProtocolFeatures() uint64

	// QueueNum is the answer to GET_QUEUE_NUM: how many queues the device has
	// at most, in the unit of its kind (queue pairs for a network device).
	QueueNum() uint64

	// MaxVrings returns how many virtqueues a front-end may name: indices are
	// 0 to MaxVrings()-1. At most 256, as an index has 8 bits in some messages.
	MaxVrings() int

	// FeaturesSet tells which virtio features the front-end has acknowledged,
	// each time that they change. No ring is running then. (The set includes
	// FeatureProtocolFeatures if that was acknowledged, and never FeatureLogAll,
	// which is switched while rings run: queues do the logging.)
	FeaturesSet(features uint64)

	// RingStarted gives the device a ring to work on. It has to look at the
	// ring once without waiting for a kick. An error refuses to start it, and
	// the device must not use the ring any more.
	RingStarted(r Ring) error

	// RingEnabled tells that a ring, running or not, was enabled or disabled. A
	// disabled ring that is running is processed "without causing any side
	// effects": a network device takes and discards what is sent and supplies
	// nothing received. When the method returns, that is in effect.
	RingEnabled(index int, enabled bool)

	// RingStopped takes a ring back. It returns when no goroutine of the device
	// uses the queue, its guest memory or its kick file descriptor any more, and when every
	// chain that was popped is completed and flushed, or given back with Unpop. Nobody
	// flushes after that: a chain that is left over never comes back to the driver.
	RingStopped(index int)

	// Quiesce waits until no goroutine of the device uses any queue or guest
	// memory, and keeps them away until resume is called. The session does so
	// around changes of memory and of call file descriptors; between Quiesce
	// and resume it calls no other method of the device.
	//
	// The pieces of chains popped before point to memory that may be gone after resume. So
	// before it returns, Quiesce has every chain whose pieces are still needed (by a disk that
	// is reading into them, say) completed, or given back with Unpop. Chains that are held
	// without their pieces may be completed after resume, and completions that are not flushed
	// yet stay recorded; but a dirty log misses what was written to a chain before Quiesce and
	// is completed after. A device that flushes before it gives up the lock that Quiesce
	// takes need not think of any of this. vhostusertest.Churn tests it.
	Quiesce() (resume func())
}

// Ring is a running virtqueue, lent to a device between RingStarted and
// RingStopped.
type Ring struct {
	Index   int
	Enabled bool // whether it starts enabled; see Device.RingEnabled

	// Queue is the device's while the ring runs, except inside Quiesce. It has
	// been signalled once already.
	Queue *virtqueue.Queue

	// Kick is an eventfd that the driver makes readable when it has added
	// buffers. -1: there is none and the ring has to be polled. The session
	// owns it and closes it some time after RingStopped. The front-end shares
	// its file description, and with that its counter and O_NONBLOCK flag: a
	// read may block although it was just readable. An edge-triggered epoll
	// needs no reads.
	Kick int
}
