// Package vhostuser is the back-end side of the vhost-user protocol: what a program needs in order
// to be a virtio device of a virtual machine that runs in another process. It follows
// docs/interop/vhost-user.rst of QEMU; rules quoted in comments are from there.
//
// The package handles messages, file descriptors, guest memory and the life cycle of virtqueues.
// It does not know what the device is: that is a [Device], for example a network card, a disk or
// a console, implemented by the importing package. The contents of rings are the subject of
// package virtqueue.
//
// # Layers
//
// Each layer can be read, and tested, without the ones above it:
//
//   - message.go, payload.go: the wire format and the table of all messages.
//   - conn.go: one message at a time over a unix socket, with its file descriptors.
//   - state.go: everything that the front-end has sent, as one plain struct.
//   - session.go, session_*.go: the state machine; it turns messages into changes of that state and
//     into calls of the device.
//   - channel.go: requests to the front-end.
//   - listener.go, dialer.go: how connections are established.
//   - pool.go, capacity.go: limits on a front-end's use of shared resources.
//
// # A session
//
// A front-end (QEMU, say) connects; [Serve] runs the session until it ends and returns the
// reason. A session has one goroutine, the one that called Serve. Only that goroutine reads
// messages, changes state and calls the device. The goroutines in which the device works on its
// rings belong to the device: [Device.RingStarted] passes a ring to them, and
// [Device.RingStopped] takes it away.
//
// Most devices only answer requests. For those, package vhostuser/loop provides the goroutines, the
// locking and the handling of faults, and leaves one function to be written.
//
// Every device has to implement Device. The methods that only some devices need (a network card
// whose MTU can be set, a device with a configuration space) are in hooks.go. docs/vhost-user.md
// lists the messages and features that are implemented, and those that are not.
//
// # Trust
//
// The front-end is assumed to be hostile: it may send anything at any time, with any file
// descriptors, and may change or truncate its memory while the memory is in use. A front-end that
// breaks the rules loses its own connection and affects no other: Serve returns an error that says
// what was wrong. By then every file descriptor that came over the socket is closed and all guest
// memory is unmapped.
package vhostuser
