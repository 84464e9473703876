package worker

// MaxBatch is the largest number of frames that a Source delivers at once.
const MaxBatch = 64

// A Source produces work for a worker: a guest's transmit queue, an uplink's socket. A worker calls
// its methods, one at a time; a source belongs to one worker at any moment.
type Source interface {
	// FD is the file descriptor that becomes readable when work may have come: an eventfd or a
	// socket. -1 means that there is none and the source has to be polled. It does not change
	// while the source is in a Pool.
	FD() int

	// Poll processes one batch of work, at most MaxBatch frames, without waiting, and returns the
	// amount: 0 means that there was nothing to do.
	Poll() int

	// Arm asks for notifications through FD from now on, and reports whether work came in
	// before that took effect, in which case the worker continues polling.
	Arm() (pending bool)

	// Disarm says that the source is being polled and notifications are not needed.
	Disarm()
}

// A Flooder is a Source some of whose batches are floods: each frame is copied to many ports. All
// floods together get the time of one port, if other ports have work (share.go).
type Flooder interface {
	Source

	// Flooding reports whether the last batch was a flood.
	Flooding() bool
}
