// Package peer runs vhost-user back-ends to be compared with one another: vswitchd, Open vSwitch
// with DPDK, and DPDK's testpmd, which moves frames between two ports and switches nothing.
//
// A Linux bridge with a tap device is there for what crosses an uplink: one end of the lab's
// [Wire], whose other end is in another network namespace.
//
// All of them get the same: one processor for the whole process, a directory for their files, rings
// and guests that package load makes. What differs is what each needs to run at all: huge pages for
// DPDK. None is given an option to make it faster than it is when installed.
//
// Everything that a Lab starts and changes is gone after its Close: processes are ended by their
// ids, huge pages are given back, namespaces and files removed.
//
// The package knows nothing of what is measured; bench/compare and its like do that.
package peer
