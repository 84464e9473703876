// Package vhostusertest is a vhost-user front-end for tests of back-ends: what
// QEMU is to a guest's devices, without a guest. It drives real sockets, shares
// real memory and signals real eventfds, from the same process as the
// back-end or another.
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
// The ring's driver is virtqueuetest's: ring.Driver adds buffers, ring.Kick
// tells the device, ring.WaitCall waits for it.
//
// # Good and hostile front-ends
//
// The methods of frontend.go, memory.go and ring.go keep the rules of the
// specification, in the order in which QEMU does things. Those of raw.go send
// anything.
//
// A FrontEnd belongs to one goroutine at a time. Every wait ends after Timeout,
// so that a back-end that does not answer fails a test instead of hanging it.
package vhostusertest
