package virtqueue_test

import (
	"errors"
	"math"
	"testing"

	"vswitchd/virtqueue"
)

func TestMemoryTable(t *testing.T) {
	at := func(guest, user uint64, n int) virtqueue.Region {
		return virtqueue.Region{GuestAddr: guest, UserAddr: user, Mem: make([]byte, n)}
	}
	many := func(n int) (r []virtqueue.Region) {
		for i := range uint64(n) {
			r = append(r, at(2*i, 2*i, 1))
		}
		return r
	}
	for _, c := range []struct {
		name    string
		regions []virtqueue.Region
		ok      bool
	}{
		{"nothing", nil, true},
		{"empty region", []virtqueue.Region{at(0, 0, 0)}, false},
		{"empty among others", []virtqueue.Region{at(0, 0, 16), at(64, 64, 0)}, false},
		{"up to the last address", []virtqueue.Region{at(math.MaxUint64-15, math.MaxUint64-15, 16)}, true},
		{"guest address wraps", []virtqueue.Region{at(math.MaxUint64-14, 0, 16)}, false},
		{"user address wraps", []virtqueue.Region{at(0, math.MaxUint64-14, 16)}, false},
		{"adjacent", []virtqueue.Region{at(16, 0, 16), at(0, 99, 16), at(32, 500, 1)}, true},
		{"overlap by one byte", []virtqueue.Region{at(15, 99, 16), at(0, 0, 16)}, false},
		{"one inside the other", []virtqueue.Region{at(0, 0, 64), at(16, 99, 16)}, false},
		{"one inside the other, across a third", []virtqueue.Region{at(0, 0, 64), at(16, 99, 1), at(32, 200, 1)}, false},
		{"the same", []virtqueue.Region{at(16, 0, 16), at(16, 99, 16)}, false},
		{"user addresses overlap", []virtqueue.Region{at(0, 0, 16), at(16, 0, 16)}, true},
		{"as many as allowed", many(virtqueue.MaxRegions), true},
		{"one too many", many(virtqueue.MaxRegions + 1), false},
	} {
		m, err := virtqueue.NewMemory(c.regions)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, virtqueue.ErrMemory) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			continue
		}
		if len(m.Regions()) != len(c.regions) {
			t.Errorf("%s: %d regions", c.name, len(m.Regions()))
		}
		for i, r := range m.Regions()[min(1, len(c.regions)):] {
			if r.GuestAddr <= m.Regions()[i].GuestAddr {
				t.Errorf("%s: not sorted", c.name)
			}
		}
	}
}

// The table does not change with the slice that it was made from.
func TestMemoryIsACopy(t *testing.T) {
	regions := []virtqueue.Region{region(0x2000, 16), region(0x1000, 16)}
	m, err := virtqueue.NewMemory(regions)
	if err != nil {
		t.Fatal(err)
	}
	if regions[0].GuestAddr != 0x2000 {
		t.Error("the caller's slice was sorted")
	}
	regions[1].GuestAddr = 0x9000
	if m.Regions()[0].GuestAddr != 0x1000 {
		t.Error("the table changed")
	}
}
