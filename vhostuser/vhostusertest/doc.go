// Package vhostusertest is a vhost-user front-end for tests of back-ends: it takes the role of
// QEMU, without a guest. It uses real sockets, real shared memory and real eventfds, in the same
// process as the back-end or in another one.
//
//	fe, backend, err := vhostusertest.Pair()
//	defer fe.Close()
//	go vhostuser.Serve(ctx, backend, dev, vhostuser.Options{})
//	err = fe.Handshake(features, protocolFeatures)
//	mem, err := fe.NewMemory(16 << 20)
//	err = fe.ShareMemory()
//	ring, err := fe.NewRing(mem, 0, 256, 1<<20)
//	err = fe.StartRing(ring)
//
// The ring's driver is virtqueuetest's: ring.Driver adds buffers, ring.Kick notifies the device,
// ring.WaitCall waits for the device.
//
// # Good and hostile front-ends
//
// The methods of frontend.go, memory.go and ring.go follow the rules of the specification, in the
// order that QEMU uses. Those of raw.go send anything.
//
// A FrontEnd may be used by one goroutine at a time. Every wait ends after Timeout, so that a
// back-end that does not answer fails a test instead of hanging it.
package vhostusertest
