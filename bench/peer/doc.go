// Package peer runs vhost-user back-ends to be compared with one another: vswitchd, Open
// vSwitch with DPDK, and DPDK's testpmd, which moves frames between two ports and switches
// nothing.
//
// All of them get the same: one processor for the whole process, a place of their own
// for their files, rings and guests that package load makes. What differs is what each
// needs to run at all: huge pages for DPDK. None is given an option to make it
// faster than it is when installed.
//
// Everything that a Lab starts and changes is gone after its Close: processes are ended by
// their ids, huge pages are given back, files removed.
//
// The package knows nothing of what is measured; bench/run does that.
package peer
