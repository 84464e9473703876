package load

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A queue is one ring with its buffers. Buffers go round in the ring's order: with the device, then
// with us (pending), then with the device again.
type queue struct {
	ring    hotRing
	size    int
	stride  int    // bytes from one buffer to the next
	bufs    []byte // all of them
	addr    uint64 // guest address of the first
	kick    int
	call    int
	next    int    // buffer that is offered next
	pending int    // buffers that are with us
	total   uint64 // buffers that the device has used
	kicks   uint64
}

// one is what is written to an eventfd.
var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// offer makes n of the pending buffers available.
func (q *queue) offer(n int) {
	q.pending -= n
	if q.next += n; q.next >= q.size {
		q.next -= q.size
	}
	if q.ring.offer(n) {
		q.kicks++
		_, _ = unix.Write(q.kick, one) // our own eventfd: it can only be full, which is as good
	}
}

// reap takes back the buffers that the device has used, and returns how many.
func (q *queue) reap() (int, error) {
	n := q.ring.reap()
	if n == 0 {
		return 0, nil
	}
	if n > q.size-q.pending {
		return 0, errIndex
	}
	// Buffers are used in order if the last one is where it should be.
	if buf, _ := q.ring.used(n - 1); buf != q.at(q.next+q.pending+n-1) {
		return 0, fmt.Errorf("%w: %d instead of %d", ErrOrder, buf, q.at(q.next+q.pending+n-1))
	}
	q.pending += n
	q.total += uint64(n)
	return n, nil
}

// at returns a number of a buffer that may have gone round, once or twice.
func (q *queue) at(i int) int {
	for i >= q.size {
		i -= q.size
	}
	return i
}

// out returns how many buffers are with the device.
func (q *queue) out() int { return q.size - q.pending }

// buf returns a buffer.
func (q *queue) buf(i int) []byte { return q.bufs[i*q.stride:][:q.stride:q.stride] }

// received returns the k-th buffer of the last reap, with the length that the device says it has.
func (q *queue) received(k int) ([]byte, error) {
	i, n := q.ring.used(k)
	if i >= q.size || int(n) > q.stride {
		return nil, fmt.Errorf("%d bytes used of buffer %d", n, i)
	}
	return q.buf(i)[:n], nil
}

// setup sets the length of all buffers, which have to be with us.
func (q *queue) setup(n int, writable bool) {
	for i := range q.size {
		q.ring.setup(i, q.addr+uint64(i*q.stride), uint32(n), writable)
	}
}
