package virtqueue_test

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// A driver that changes what it wrote while we look at it. Whoever reads a word
// twice checks the one value and uses the other.

// flipping runs flip(0), flip(1), flip(0), ... in a goroutine, and look in this
// one until it has returned both of its outcomes a hundred times. The time limit
// only makes a failure of a hang.
func flipping(t *testing.T, flip func(hostile bool), look func() (hostile bool)) {
	t.Helper()
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for hostile := false; !stop.Load(); hostile = !hostile {
			flip(hostile)
		}
	})
	defer wg.Wait()
	defer stop.Store(true)
	deadline := time.Now().Add(time.Minute)
	for seen := [2]int{}; min(seen[0], seen[1]) < 100 || seen[0]+seen[1] < 50000; {
		if look() {
			seen[1]++
		} else {
			seen[0]++
		}
		if (seen[0]+seen[1])%1024 == 0 && time.Now().After(deadline) {
			t.Fatal("outcomes seen:", seen)
		}
	}
}

// mapped returns a guest in mapped memory, which the race detector does not watch:
// here, racing is the point.
func mapped(t *testing.T, features uint64) *guest {
	t.Helper()
	_, rings := memfd(t, 0x1000)
	_, data := memfd(t, 0x1000)
	cfg, _ := virtqueuetest.Layout(8, ringsAt)
	cfg.Features = features
	drv, err := virtqueuetest.New([]virtqueue.Region{
		{GuestAddr: ringsAt, UserAddr: ringsAt, Mem: rings},
		{GuestAddr: 0x1000, UserAddr: 0x1000, Mem: data},
	}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, drv)
}

func (g *guest) popOne(t *testing.T) virtqueue.Chain {
	t.Helper()
	g.b.Reset()
	if n, err := g.q.Pop(g.b, 1); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	c := g.b.Chains[0]
	g.q.Unpop(g.b, 1)
	return c
}

func TestDoubleFetchOfLength(t *testing.T) {
	for name, flags := range map[string]uint16{"single": 0, "chained": flagNext} {
		t.Run(name, func(t *testing.T) {
			g := mapped(t, 0)
			good, bad := desc{0x1800, 16, flags, 1}, desc{0x1800, 0x10000, flags, 1}
			g.SetDesc(1, desc{0x1000, 8, 0, 0})
			g.SetDesc(0, good)
			g.Offer(0)
			g.Publish()
			flipping(t, func(hostile bool) {
				if hostile {
					g.SetDesc(0, bad)
				} else {
					g.SetDesc(0, good)
				}
			}, func() bool {
				c := g.popOne(t)
				if c.Err == nil && len(c.Readable[0]) == 16 {
					return false
				}
				if !errors.Is(c.Err, virtqueue.ErrAddress) {
					t.Fatal(c)
				}
				return true
			})
		})
	}
}

func TestDoubleFetchOfAddress(t *testing.T) {
	g := mapped(t, 0)
	data := g.Bytes(buf{Addr: 0x1800, Len: 16})
	g.SetDesc(0, desc{0x1800, 16, flagWrite, 0})
	g.Offer(0)
	g.Publish()
	flipping(t, func(hostile bool) {
		if hostile {
			g.SetDesc(0, desc{0x1ff8, 16, flagWrite, 0})
		} else {
			g.SetDesc(0, desc{0x1800, 16, flagWrite, 0})
		}
	}, func() bool {
		c := g.popOne(t)
		if c.Err == nil && sameMemory(c.Writable[0], data) {
			return false
		}
		if !errors.Is(c.Err, virtqueue.ErrAddress) {
			t.Fatal(c)
		}
		return true
	})
}

// A buffer that is checked as readable must not be handed out as writable, or
// without a piece at all.
func TestDoubleFetchOfFlags(t *testing.T) {
	g := mapped(t, 0)
	g.SetDesc(0, desc{0x1800, 16, 0, 0})
	g.Offer(0)
	g.Publish()
	flipping(t, func(hostile bool) {
		if hostile {
			g.SetDesc(0, desc{0x1800, 16, flagWrite | flagNext, 0xffff})
		} else {
			g.SetDesc(0, desc{0x1800, 16, 0, 0})
		}
	}, func() bool {
		c := g.popOne(t)
		if c.Err == nil && len(c.Readable) == 1 && len(c.Writable) == 0 {
			return false
		}
		if !errors.Is(c.Err, virtqueue.ErrNext) {
			t.Fatal(c)
		}
		return true
	})
}

func TestDoubleFetchOfHead(t *testing.T) {
	g := mapped(t, 0)
	g.SetDesc(0, desc{0x1800, 16, 0, 0})
	g.Offer(0)
	g.Publish()
	mem := g.Memory()
	flipping(t, func(hostile bool) {
		if hostile {
			g.SetAvailEntry(0, 0xffff)
		} else {
			g.SetAvailEntry(0, 0)
		}
	}, func() bool {
		g.b.Reset()
		n, err := g.q.Pop(g.b, 1)
		if err == nil && n == 1 && g.b.Chains[0].Head == 0 && len(g.b.Chains[0].Readable) == 1 {
			g.q.Unpop(g.b, 1)
			return false
		}
		if !errors.Is(err, virtqueue.ErrHead) {
			t.Fatal(n, err)
		}
		q, err := virtqueue.New(mem, g.Config())
		if err != nil {
			t.Fatal(err)
		}
		g.q = q
		return true
	})
}

func TestDoubleFetchOfAvailIndex(t *testing.T) {
	g := mapped(t, 0)
	g.SetDesc(0, desc{0x1800, 16, 0, 0})
	g.Offer(0)
	g.Publish()
	mem := g.Memory()
	flipping(t, func(hostile bool) {
		if hostile {
			g.SetAvailIdx(9)
		} else {
			g.SetAvailIdx(1)
		}
	}, func() bool {
		g.b.Reset()
		n, err := g.q.Pop(g.b, 64)
		if n == 1 && err == nil {
			g.q.Unpop(g.b, 1)
			return false
		}
		if !errors.Is(err, virtqueue.ErrAvailIndex) {
			t.Fatal(n, err)
		}
		q, err := virtqueue.New(mem, g.Config())
		if err != nil {
			t.Fatal(err)
		}
		g.q = q
		return true
	})
}

// In an indirect table all fields are ordinary memory, in any alignment. The
// bytes of one field may be of both values; that, too, must stay in bounds.
func TestDoubleFetchInIndirectTable(t *testing.T) {
	g := mapped(t, indirect)
	const table = 0x1100
	g.Write(table, desc{0x1800, 16, flagNext, 1}.Append(nil))
	g.Write(table+16, desc{0x1900, 16, 0, 0}.Append(nil))
	g.SetDesc(0, desc{table, 32, flagIndirect, 0})
	g.Offer(0)
	g.Publish()
	raw := g.Bytes(buf{Addr: table, Len: 32})
	good := g.Regions()[0] // the lower address
	flipping(t, func(hostile bool) {
		n, next := uint32(16), uint16(1)
		if hostile {
			n, next = 0x10000, 0xffff
		}
		binary.LittleEndian.PutUint32(raw[8:], n)
		binary.LittleEndian.PutUint16(raw[14:], next)
	}, func() bool {
		c := g.popOne(t)
		if c.Err == nil {
			if len(c.Readable) != 2 || !sameMemory(c.Readable[0], good.Mem[0x800:0x810]) || !sameMemory(c.Readable[1], good.Mem[0x900:0x910]) {
				t.Fatal(c)
			}
			return false
		}
		if !errors.Is(c.Err, virtqueue.ErrAddress) && !errors.Is(c.Err, virtqueue.ErrNext) && !errors.Is(c.Err, virtqueue.ErrZeroLen) {
			t.Fatal(c.Err)
		}
		return true
	})
}
