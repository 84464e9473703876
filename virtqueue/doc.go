// Package virtqueue is the device side of a virtqueue (virtio 1.2, section 2.7) in memory that is
// shared with the driver.
//
// A [Memory] is an immutable table of mapped regions of guest memory. A [Queue] takes descriptor
// chains that the driver made available, hands them out as byte slices of those regions, and
// returns them as used. The package does not interpret the bytes, and does not map memory: package
// vhostuser maps guest memory and sets queues up; a device (package vhostuser/netport, or any
// other) pops chains and completes them.
//
// # Trust
//
// The driver is hostile. It shares the rings and the buffers and may write anything, anywhere in
// them, at any time. So every shared word that a decision depends on is loaded exactly once into
// private memory and checked there; every address is translated through Memory, which never returns
// a byte outside a region; every walk is bounded. A chain that breaks the rules is handed out with
// its Err set, to be completed with length 0 (otherwise its descriptors would be lost to the ring).
// A ring that breaks the rules ([ErrAvailIndex], [ErrHead]) stays broken until it is set up again.
//
// Memory can also vanish: a front-end may truncate the file behind it, and the next access raises
// SIGBUS. Goroutines that use a Queue must therefore run with debug.SetPanicOnFault and recover;
// [Memory.Contains] reports whether the faulting address lies in that guest's memory. A Queue whose
// method was aborted by such a panic must not be used again until [Queue.SetMemory].
//
// # What may touch guest memory
//
// SetPanicOnFault turns a fault into a panic only where the runtime knows the code in which the
// fault happened. Guest memory (pieces of chains, and slices of them) may be handed to
//
//   - Go code: loops, copy, binary.LittleEndian, bytes.Equal and the like, and the assembly of the
//     standard library's checksums and hashes, which has Go's stack frames;
//   - system calls (read, preadv, writev, sendmsg): the kernel answers with EFAULT, which has to be
//     handled as an error of the guest, not of the file.
//
// A fault elsewhere ends the process, whatever SetPanicOnFault says. Guest memory must
// not be handed to
//
//   - the vDSO. crypto/rand.Read, and whatever reads crypto/rand.Reader, passes the caller's buffer
//     to getrandom in the vDSO: read into private memory, then copy.
//   - cgo, and assembly without Go's stack frames.
//
// [Reader] and [Writer] copy, in Go code, between the pieces of a chain and private memory, and are
// safe to combine with anything.
//
// # Concurrency
//
// A Queue may be used by one goroutine at a time. The caller provides the locking.
package virtqueue
