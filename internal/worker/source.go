package worker

// A Source is something that produces work for a worker: a guest's transmit
// queue, an uplink's socket. A worker calls its methods, one at a time; a
// source belongs to one worker at any moment.
type Source interface {
	// FD is the file descriptor that becomes readable when work may have
	// come: an eventfd or a socket. -1: there is none, the source has to be
	// looked at now and then. It does not change while the source is in a Pool.
	FD() int

	// Poll does one batch of work, without waiting, and returns how much it was:
	// 0 means that there was nothing to do.
	Poll() int

	// Arm asks for notifications through FD from now on, and reports whether
	// work came in before that took effect, in which case the worker goes on
	// polling.
	Arm() (pending bool)

	// Disarm tells that the source is being polled: notifications are not
	// needed.
	Disarm()
}
