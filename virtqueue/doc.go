// Package virtqueue is the device side of a virtqueue (virtio 1.2, section 2.7)
// in memory that is shared with the driver.
//
// A [Memory] is an immutable table of mapped regions of guest memory. A [Queue]
// takes descriptor chains that the driver made available, hands them out as
// byte slices of those regions, and returns them as used. What the bytes mean
// is not known here, nor is where the memory came from: package vhostuser maps
// it and sets queues up, a device (package vhostuser/netport, or any other)
// pops chains and completes them.
//
// # Trust
//
// The driver is hostile. It shares the rings and the buffers and may write
// anything, anywhere in them, at any time. So every word that a decision hangs
// on is loaded exactly once into private memory and checked there; every
// address is translated through Memory, which never yields a byte outside a
// region; every walk is bounded. A chain that breaks the rules is handed out
// with its Err set, to be completed with length 0 (otherwise the ring would
// leak); a ring that breaks them ([ErrAvailIndex], [ErrHead]) stays broken until
// it is set up again.
//
// Memory can also vanish: a front-end may truncate the file behind it, and the
// next access raises SIGBUS. Goroutines that use a Queue must therefore run with
// debug.SetPanicOnFault and recover; [Memory.Contains] tells whose memory the
// faulting address is. A Queue whose method was left by such a panic must not
// be used again until [Queue.SetMemory].
//
// # Concurrency
//
// A Queue belongs to one goroutine at a time. Its user brings the lock.
package virtqueue
