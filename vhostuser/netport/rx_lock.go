package netport

// A receiveq's lock is held while a group of frames is copied: 5 µs for small frames, 20 µs for
// large ones, a millisecond at most. Workers that want it meanwhile do not sleep at first. A worker
// is bound to a thread: putting that to sleep and waking it takes longer than the copy, and both
// would be paid for each group while two workers have frames for the same guest.

const (
	lockAttempts = 200
	lockPause    = 500 // turns of an empty loop between attempts, some 250 ns
)

// lock locks q.mu, for a worker.
func (q *rxQueue) lock() {
	for range lockAttempts {
		if q.mu.TryLock() {
			return
		}
		for i := 0; i < lockPause; i++ {
		}
	}
	q.mu.Lock()
}
