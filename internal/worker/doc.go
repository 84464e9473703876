// Package worker runs the data plane: a few threads, each of which serves a set
// of sources of frames (guests' transmit queues, uplinks' sockets).
//
// A worker is a goroutine locked to an OS thread, pinned to a CPU if asked. It
// sleeps in epoll while its sources are quiet and polls them while they are not:
//
//	          event on FD: Disarm
//	armed -----------------------------> active (polled)
//	  ^                                     |
//	  +-------------------------------------+
//	    no work for Config.Poll: Arm, and nothing came in meanwhile
//
// A source that never has work while it is polled, because its frames are further apart
// than Config.Poll, is armed at once most of the time.
//
// What a loop costs depends on the sources that are active, not on how many there
// are.
//
// The package knows nothing of Ethernet or virtio. internal/daemon makes the
// Pool; guests and uplinks put their sources in and take them out as they come
// and go.
package worker
