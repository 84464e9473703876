// Package loop implements what most vhost-user devices have in common, so that the author of a
// device only writes the processing of a request:
//
//	dev := loop.New(loop.Config{
//		Vrings: 1,
//		Handle: func(req *loop.Request) error {
//			_, err := req.Write([]byte("hello"))
//			return err
//		},
//	})
//	err := vhostuser.Serve(ctx, conn, dev, vhostuser.Options{})
//
// A [Device] waits for kicks, pops chains, calls [Config].Handle for each one, completes and
// flushes them, and does not touch a ring while the session stops the ring or changes guest memory.
// A memory fault inside Handle ends the session and affects nothing else.
//
// The package does not know what a request means. Devices that need more than this (several
// requests at a time, or a ring that is filled from elsewhere, like a network card's receiveq)
// implement vhostuser.Device themselves, as package vhostuser/netport does.
//
// # Goroutines and locks
//
// All rings of a device share a goroutine, or each has one ([Config].PerRing). A goroutine sleeps
// in epoll while its rings are idle. It holds the lock of a ring for one batch, Handle included,
// and takes no other lock meanwhile; the session takes the lock of a ring in order to enable,
// disable or stop it, and the locks of all rings, in the order of their indices, for a change of
// memory. So a Handle that takes long delays the session by that time.
package loop
