package vswitch

// tick sets the clock to now, in seconds, and removes some of the entries that are too old. The
// janitor calls tick about once a second; sweepTicks calls cover the whole table.
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

	// sweepChunk is the number of buckets that are swept with the lock held; meanwhile nothing is
	// learned.
	sweepChunk = 256
)

// sweepFrom removes entries that are too old from sweepChunk buckets. It takes the lock only when
// it has found such an entry.
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
			// Checked again: the entry may have been used, or removed, meanwhile.
			if t.expired(b, i, now) {
				s := slotAt(b, i)
				t.count(t.owner(s), FDBExpired)
				t.note(RecordExpired, s)
				t.remove(s)
			}
		}
	}
}

func (t *fdb) expired(b, i int, now uint32) bool {
	return t.buckets[b].word[i].Load() != 0 && !t.live(b, i, now)
}
