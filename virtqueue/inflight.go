package virtqueue

import (
	"errors"
	"fmt"
)

// In-flight tracking ("Inflight I/O tracking" in docs/interop/vhost-user.rst): a record, in memory
// that survives this process, of the chains that were popped from a ring and not yet used. A
// successor pops them again, in the same order, before any others.
//
// The steps have to be ordered such that the process may die between any two of them. The memory
// survives with the stores that were executed, so their program order matters: each step is one
// store of an aligned 64-bit word. The stores that commit a step are atomic, which keeps the
// compiler from moving other stores across them.
//
// The record is shared with the front-end. It is read once, in SetInflight, and every value that
// could lead outside of the record is checked; afterwards the record is only written, from private
// copies of all values that are needed.

// ErrInflight is wrapped by every error of SetInflight.
var ErrInflight = errors.New("bad in-flight record")

// inflightVersion is "1 currently. Zero value indicates an uninitialized buffer".
const inflightVersion = 1

// InflightSize returns the size in bytes of the in-flight record of one queue, a multiple of 64.
// The records of several queues can follow one another.
func InflightSize(size int, packed bool) int {
	n := 16 + 16*size
	if packed {
		n = 32 + 32*size
	}
	return (n + 63) &^ 63
}

// SetInflight makes the queue keep its in-flight record in mem, which is at least InflightSize
// bytes, aligned to 8, and usually a mapping. The memory must stay valid until the queue is no
// longer used or has another record (nil: none). SetInflight has to be called before the first Pop.
//
// A record that is all zeros is initialized. With the record of a previous queue, this queue
// continues where that one stopped: it pops the chains that were popped and not used, and then the
// following ones, whatever Config.Base said.
//
// Like guest memory, the record can vanish; see [Contains].
func (q *Queue) SetInflight(mem []byte) error {
	q.inflight, q.recording, q.tracked = nil, false, q.inOrder
	q.resubmits, q.resubmit, q.resubmitted, q.fresh = nil, nil, 0, 0
	if mem == nil {
		return nil
	}
	words, ok := words64Of(mem)
	if need := InflightSize(q.cfg.Size, q.isPacked); !ok || len(mem) < need {
		return fmt.Errorf("%w: %d bytes, want %d, aligned to 8", ErrInflight, len(mem), need)
	}
	var (
		record inflight
		again  []uint16
		err    error
	)
	read := func() {
		if q.isPacked {
			record, again, err = q.recoverPacked(words)
		} else {
			record, again, err = q.recoverSplit(words)
		}
	}
	if fault := guard(read); fault != nil {
		return fmt.Errorf("%w: %w", ErrInflight, fault)
	}
	if err != nil {
		return err
	}
	q.inflight, q.recording, q.tracked = record, q.isPacked, true
	q.resubmits, q.resubmit = again, again
	return nil
}

// checkInflight checks the two words that both formats of a record begin with.
func checkInflight(features, head uint64, size int) error {
	if features != 0 || uint16(head) > inflightVersion {
		return fmt.Errorf("%w: version %d with features %#x", ErrInflight, uint16(head), features)
	}
	if n := int(uint16(head >> 16)); uint16(head) != 0 && n != size {
		return fmt.Errorf("%w: for a queue of size %d instead of %d", ErrInflight, n, size)
	}
	return nil
}
