// Package netport makes a vhost-user guest a port of the switch: it is the
// network device (virtio 1.2, section 5.1) that a guest's driver talks to.
//
// A [Port] implements vhostuser.Device, through which it gets the guest's rings,
// and vswitch.Port, through which the switch sends it frames. In between lie
// descriptor chains and the virtio-net header on one side, vswitch.Frame on the
// other. The package does not know how messages come in (package vhostuser),
// how a ring works (package virtqueue) or where frames go (package vswitch).
// internal/port/guest makes one Port for each guest in the configuration; the Port
// stays when the guest leaves, and serves it again when it comes back.
//
// Receive and transmit are the guest's words in virtio and the switch's words in
// package vswitch, and they are opposite. Here a receiveq (rx.go) is where the
// guest receives, and a transmitq (tx.go) where it transmits.
//
// # Locking
//
// Each queue has a mutex, held by the data plane for one batch at most, and by
// the control plane while it changes the ring or guest memory, or looks at them
// (status.go). A worker holds the lock of one transmitq, and while it does, takes
// the locks of receiveqs, one at a time: all transmitq locks rank before all
// receiveq locks.
//
// # Faults
//
// A front-end can truncate the file behind its guest's memory while we read it.
// The SIGBUS becomes a panic with an address, which is recovered per batch
// (transmitq), frame (receiveq) or look, and is charged to the port whose memory
// the address is in: that one's connection ends, and nobody else's frame is lost.
package netport
