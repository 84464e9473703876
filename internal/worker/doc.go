// Package worker runs the data plane: a few threads, each of which serves a set of sources of
// frames (guests' transmit queues, uplinks' sockets).
//
// A worker is a goroutine locked to an OS thread, which may be pinned to a CPU. It sleeps in epoll
// while its sources are idle and polls them while they are not:
//
//	          event on FD: Disarm
//	armed -----------------------------> active (polled)
//	  ^                                     |
//	  +-------------------------------------+
//	    no work for Config.Poll: Arm, and no work came in meanwhile
//
// A source that never has work while it is polled, because its frames are further apart than
// Config.Poll, is armed at once most of the time (pollhistory.go, pollcredit.go). A worker whose
// sources have work often, but not all the time, does not poll them without interruption: it pauses
// between two polls (moderate.go).
//
// The cost of a loop depends on the number of active sources, not on the number of all sources.
//
// The package knows nothing of Ethernet or virtio. internal/daemon makes the Pool; guests and
// uplinks add and remove their sources.
package worker
