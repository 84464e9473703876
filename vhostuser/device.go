package vhostuser

import "vswitchd/virtqueue"

// Device is what a program implements to be a vhost-user device.
//
// The session calls all methods from its one goroutine, never two at a time, and holds no lock
// during the call: the device may wait for its own data-plane goroutines in any of them. Those
// goroutines in turn may call [Session.Fail], [Session.Contains], [Session.ConfigChanged] and
// the methods that return the state of the session ([Session.Snapshot], [Session.Offered],
// [Session.Channel]) at any time; none of these waits for the session's goroutine, so a
// deadlock is impossible.
type Device interface {
	// Attach is called once, before any other method, with the session that the device now
	// belongs to. The session is valid until Serve returns.
	Attach(s *Session)

	// Features returns the virtio feature bits that the device offers (virtio 1.2, section 6
	// and the device's own section). The session adds FeatureProtocolFeatures, and
	// FeatureLogAll with ProtocolFeatureLogShmFD. A front-end acknowledges everything that it
	// understands, so only features that work may be offered.
	Features() uint64

	// ProtocolFeatures returns the ProtocolFeature bits that the device offers. The session
	// drops those that this package does not implement, and those that need methods which the
	// device does not have; see hooks.go. With ProtocolFeatureLogShmFD the device must not
	// write to guest memory except to chains' Writable pieces, and must complete the chains
	// with the number of bytes written.
	ProtocolFeatures() uint64

	// QueueNum is the answer to GET_QUEUE_NUM: the largest number of queues of the device, in
	// the unit of its kind (queue pairs for a network device).
	QueueNum() uint64

	// MaxVrings returns how many virtqueues a front-end may address: indices are 0 to
	// MaxVrings()-1. At most 256, because an index has 8 bits in some messages.
	MaxVrings() int

	// FeaturesSet passes the virtio features that the front-end has acknowledged, each time
	// that they change. No ring is running then. (The set includes FeatureProtocolFeatures if
	// that was acknowledged, and never FeatureLogAll, which is switched while rings run: queues
	// do the logging.)
	FeaturesSet(features uint64)

	// RingStarted passes a ring to the device. The device has to look at the ring once
	// without waiting for a kick. On an error the ring is not started, and the device must
	// not use it any more.
	RingStarted(r Ring) error

	// RingEnabled reports that a ring, running or not, was enabled or disabled. A disabled ring
	// that is running is processed "without causing any side effects": a network device takes
	// and discards the frames to be sent and delivers no received ones. The change is in effect
	// when the method returns.
	RingEnabled(index int, enabled bool)

	// RingStopped takes a ring away from the device. It returns when no goroutine of the device
	// uses the queue, its guest memory or its kick file descriptor any more, and when every
	// chain that was popped is completed and flushed, or returned with Unpop. Nothing flushes
	// the queue after that: a chain that is left over is never returned to the driver.
	RingStopped(index int)

	// Quiesce waits until no goroutine of the device uses any queue or guest memory, and keeps
	// the goroutines from using them until resume is called. The session does so around changes
	// of memory and of call file descriptors; between Quiesce and resume it calls no other
	// method of the device.
	//
	// The pieces of chains popped before point to memory that may be gone after resume. So
	// before it returns, Quiesce must have completed, or returned with Unpop, every chain whose
	// pieces are still needed (by a disk that is reading into them, say). Chains that are held
	// without their pieces may be completed after resume, and completions that are not flushed
	// yet stay recorded; but the dirty log misses writes to a chain before Quiesce if the chain
	// is completed after resume. A device that flushes before it releases the lock that Quiesce
	// takes meets all of these conditions. vhostusertest.Churn tests them.
	Quiesce() (resume func())
}

// Ring is a running virtqueue, which a device uses between RingStarted and RingStopped.
type Ring struct {
	Index   int
	Enabled bool // whether it starts enabled; see Device.RingEnabled

	// Queue belongs to the device while the ring runs, except inside Quiesce. The driver has
	// already been signalled once.
	Queue *virtqueue.Queue

	// Kick is an eventfd that the driver makes readable when it has added buffers. -1 means
	// that there is none and the ring has to be polled. The session owns the eventfd and closes
	// it some time after RingStopped. The front-end shares its file description, and with it
	// the counter and the O_NONBLOCK flag: a read may block although the eventfd was just
	// readable. An edge-triggered epoll needs no reads.
	Kick int
}
