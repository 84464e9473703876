package vswitch

// tick sets the clock to now, in seconds, and removes some of the entries that
// are too old. The janitor calls it about once a second; all of the table
// is looked at within sweepTicks calls.
func (t *fdb) tick(now uint32) {
	t.clock.Store(now)
	n := max(len(t.buckets)/sweepTicks, minBuckets)
	for done := 0; done < n; done += sweepChunk {
		t.sweepFrom(t.sweep, now)
		t.sweep = (t.sweep + sweepChunk) % len(t.buckets)
	}
}

const (
	sweepTicks = 16

	// sweepChunk is how many buckets are cleared in one go with the lock
	// held; learning has to do without it meanwhile.
	sweepChunk = 256
)

// sweepFrom removes what is too old from sweepChunk buckets. It reads them
// without the lock first: mostly there is nothing to do.
func (t *fdb) sweepFrom(first int, now uint32) {
	locked := false
	for b := first; b < first+sweepChunk; b++ {
		for i := range bucketSlots {
			if !t.expired(b, i, now) {
				continue
			}
			if !locked {
				t.mu.Lock()
				defer t.mu.Unlock()
				locked = true
			}
			// Looked at again: it may have been used, or removed, meanwhile.
			if t.expired(b, i, now) {
				s := slot(b*bucketSlots + i)
				t.count(t.owner(s), FDBExpired)
				t.remove(s)
			}
		}
	}
}

func (t *fdb) expired(b, i int, now uint32) bool {
	if t.buckets[b].word[i].Load() == 0 {
		return false
	}
	return !t.live(slot(b*bucketSlots+i), now)
}
