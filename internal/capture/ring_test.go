package capture

import "testing"

// The reader waits for a record that its worker has not finished, however many later ones are: the
// frames stay in order, and none is read before it is whole.
func TestUnfinishedRecordsAreWaitedFor(t *testing.T) {
	r := newRing(MinBuffer)
	first, second := r.reserve(100), r.reserve(50)
	second.done.Store(true)
	if e := r.next(); e != nil {
		t.Fatal("a record is read before it is done")
	}
	first.done.Store(true)
	for _, want := range []*record{first, second} {
		if e := r.next(); e != want {
			t.Fatalf("the next record is %p, want %p", e, want)
		}
		r.release(want)
	}
	if e := r.next(); e != nil {
		t.Error("there is a record in an empty ring")
	}
}

// A ring has room for as many bytes and records as it was made for, and for as many again once they
// were given back.
func TestRingIsFull(t *testing.T) {
	r := newRing(MinBuffer)
	for range 3 {
		half, rest := r.reserve(MinBuffer/2), r.reserve(MinBuffer/2)
		if half == nil || rest == nil || r.reserve(1) != nil {
			t.Fatal("the bytes that fit are other than promised")
		}
		for _, e := range []*record{half, rest} {
			e.done.Store(true)
			r.release(e)
		}
	}
	n := 0
	for ; r.reserve(0) != nil; n++ {
	}
	if n != MinBuffer/bytesPerRecord {
		t.Errorf("there is room for %d records", n)
	}
}
