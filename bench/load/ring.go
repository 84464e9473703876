package load

import "errors"

// ErrOrder is returned when a back-end does not use buffers in the order in which they were made
// available.
var ErrOrder = errors.New("buffers are used out of order")

// errIndex says that a back-end has used what it was not given.
var errIndex = errors.New("more buffers are used than were available")

// A hotRing is the driver's side of a virtqueue, reduced to what a ring needs whose descriptors
// stay as they are.
type hotRing interface {
	// reap returns how many buffers the device has used since the last call. It may be out of
	// order, or more than there are: see used and queue.reap.
	reap() int

	// ready reports whether reap would return more than 0.
	ready() bool

	// used returns the k-th buffer used by the last reap, and the number of bytes that the device
	// says it has written.
	used(k int) (buf int, n uint32)

	// offer makes the next n buffers available and tells whether the device is to be kicked for
	// them.
	offer(n int) (kick bool)

	// armed reports whether the device wants to be kicked for the next buffer.
	armed() bool

	// setup says what buffer i is from now on: n bytes at guest address addr. The device must not
	// have it.
	setup(i int, addr uint64, n uint32, writable bool)
}
