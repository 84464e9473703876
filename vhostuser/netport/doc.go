// Package netport makes a vhost-user guest a port of the switch: it implements the network device
// (virtio 1.2, section 5.1) that a guest's driver uses.
//
// A [Port] implements vhostuser.Device, through which it gets the guest's rings, and vswitch.Port,
// through which the switch sends frames to it. It converts between descriptor chains and the
// virtio-net header on one side and vswitch.Frame on the other. The package does not know how
// messages arrive (package vhostuser), how a ring works (package virtqueue) or where frames go
// (package vswitch). internal/port/guest makes one Port for each guest in the configuration; the
// Port stays when the guest disconnects, and serves the guest again when it reconnects.
//
// In virtio, receive and transmit are seen from the guest; in package vswitch they are seen from
// the switch, which is the opposite. Here a receiveq (rx.go) is where the guest receives, and a
// transmitq (tx.go) where it transmits.
//
// # Locking
//
// Each queue has a mutex, held by the data plane for one batch at most, and by the control plane
// while it changes the ring or guest memory, or reads them (status.go). A worker holds the lock of
// one transmitq, and while it does, takes the locks of receiveqs, one at a time: all transmitq
// locks rank before all receiveq locks.
//
// # Faults
//
// A front-end can truncate the file behind its guest's memory while we read it. The SIGBUS becomes
// a panic with an address, which is recovered per batch (transmitq), per frame (receiveq) or per
// inspection, and attributed to the port whose memory contains the address: the connection of that
// port ends, and no other port loses a frame.
package netport
