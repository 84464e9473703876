// Package virtqueuetest is the driver side of a virtqueue, split or packed (virtio 1.2,
// sections 2.7 and 2.8), for tests of devices that are built on package virtqueue and for
// generating load for them.
//
// A [Driver] works on memory that its caller provides: ordinary slices, or a mapping shared with
// another process, as one region or many. [NewLocal] allocates the memory itself and is what
// most tests want:
//
//	drv, err := virtqueuetest.NewLocal(256, 1<<virtqueue.FeatureEventIdx, 1<<20)
//	q, err := virtqueue.New(drv.Memory(), drv.Config())
//	buf := drv.Alloc(64)
//	head, err := drv.AddChain([]virtqueuetest.Buf{buf}, nil)
//	kick := drv.Publish()
//
// # Good and hostile drivers
//
// The methods of driver.go and notify.go follow the rules of the specification. Those of raw.go and
// raw_packed.go write any word of the rings, whatever the rules say, as a hostile driver does. A
// Driver's own book-keeping is private, so that a Driver still works after it has been hostile.
//
// # Concurrency
//
// A Driver may be used by one goroutine at a time. The device runs in another goroutine, or
// process; the indices of the rings order the two. Both sides load and store the indices
// atomically, so tests under the race detector see real races of the device's own state and
// buffers. Words that either side may write while the other reads them (event indices, and
// everything that a hostile driver writes) are hidden from the race detector here, on the driver's
// side. The index of an available ring that is aligned to 2 bytes only cannot be stored atomically
// in Go; memory that the race detector watches (the Go heap) then yields false reports when the
// device is in another goroutine. Use mapped memory for such a ring.
package virtqueuetest
