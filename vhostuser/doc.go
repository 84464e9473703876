// Package vhostuser is the back-end side of the vhost-user protocol: what a
// program needs in order to be a virtio device of a virtual machine that runs
// in another process. It follows docs/interop/vhost-user.rst of QEMU; rules
// quoted in comments are from there.
//
// It knows messages, file descriptors, guest memory and the life of a
// virtqueue. It does not know what the device is: that is a [Device], written by
// whoever imports this package, for example a network card, a disk or a
// console. What is inside a ring is package virtqueue's.
//
// # Layers
//
// Each can be read, and tested, without the one above it:
//
//   - message.go, payload.go: the wire format and the table of all messages.
//   - conn.go: one message at a time over a unix socket, with its file
//     descriptors.
//   - state.go: what a front-end has told us, as one plain struct.
//   - session.go, session_*.go: the state machine; it turns messages into changes
//     of that state and into calls of the device.
//   - channel.go: requests to the front-end.
//   - listener.go, dialer.go: how connections come about.
//   - pool.go, capacity.go: how much a front-end may take of what all share.
//
// # A session
//
// A front-end (QEMU, say) connects; [Serve] runs the session until it ends
// and says why. A session has one goroutine, the one that called Serve. It
// alone reads messages, changes state and calls the device. The goroutines in
// which the device works on its rings are the device's own: they learn of a
// ring by [Device.RingStarted], and give it back in [Device.RingStopped].
//
// Most devices only answer requests. Package vhostuser/loop has the goroutines, the locking and
// the handling of faults for those, and leaves a function to write.
//
// Device is what every device has to be. What only some are (a network card that is
// told an MTU, a device with a configuration space) is in hooks.go. Which messages and
// features there are, and which not, is in docs/vhost-user.md.
//
// # Trust
//
// The front-end is hostile until proven otherwise: it may send anything at
// any time, with any file descriptors, and may change or truncate its memory
// under our hands. Whatever it does costs it its own connection and nobody
// else anything: Serve returns an error that says what was wrong, and by then
// every file descriptor that came over the socket is closed and every byte of
// guest memory unmapped.
package vhostuser
