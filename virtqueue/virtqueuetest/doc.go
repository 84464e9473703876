// Package virtqueuetest is the driver side of a split virtqueue (virtio 1.2,
// section 2.7), to test devices that are built on package virtqueue and to
// generate load for them.
//
// A [Driver] works on memory that its caller brings: ordinary slices, or a
// mapping shared with another process, as one region or many. [NewLocal] brings
// its own and is what most tests want:
//
//	drv, err := virtqueuetest.NewLocal(256, 1<<virtqueue.FeatureEventIdx, 1<<20)
//	q, err := virtqueue.New(drv.Memory(), drv.Config())
//	buf := drv.Alloc(64)
//	head, err := drv.AddChain([]virtqueuetest.Buf{buf}, nil)
//	kick := drv.Publish()
//
// # Good and hostile drivers
//
// The methods of driver.go and notify.go keep the rules of the specification.
// Those of raw.go write any word of the rings, whatever the rules say: they are
// what a hostile driver does. A Driver's own book-keeping is private, so that it
// goes on working after it has been hostile.
//
// # Concurrency
//
// A Driver belongs to one goroutine at a time. The device runs in another
// goroutine, or process; what orders the two is the indices of the rings, which
// both load and store atomically, so tests under the race detector see real
// races of the device's own state and buffers. Words that either side may
// write while the other reads them (event indices, and all that a hostile
// driver writes) are hidden from it here, on the driver's side. With an available
// ring that is aligned to 2 bytes only, its index cannot be stored atomically
// in Go; memory that the race detector watches (the Go heap) then gives false
// reports when the device is in another goroutine. Use mapped memory there.
package virtqueuetest
