package virtqueue_test

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// A driver changes what it wrote while the device reads. Code that loads a word twice checks one
// value and uses the other.

// flipping runs flip(false), flip(true), flip(false), ... in a goroutine, and look in this one.
// Look reports how many of each value it has seen. flipping returns after the given number of looks
// if both values have been seen often: only nanoseconds pass between two loads in a row, so that
// hitting the gap takes many looks. The time limit only turns a hang into a failure.
func flipping(t *testing.T, looks int, flip func(hostile bool), look func() (good, hostile int)) {
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
	good, hostile := 0, 0
	for i := 0; min(good, hostile) < 100 || good+hostile < looks; i++ {
		g, h := look()
		good += g
		hostile += h
		if i%1024 == 0 && time.Now().After(deadline) {
			t.Fatalf("seen %d good and %d hostile values", good, hostile)
		}
	}
}

// mapped returns a guest in mapped memory, which the race detector does not watch: these tests
// race on purpose.
func mapped(t *testing.T, features uint64) *guest {
	t.Helper()
	_, rings := memfd(t, 0x2000)
	_, data := memfd(t, 0x1000)
	cfg, _ := virtqueuetest.Layout(batch, ringsAt)
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

// offerBatch makes descriptor 0 available a batch of times.
func (g *guest) offerBatch() {
	for range batch {
		g.Offer(0)
	}
	g.Publish()
}

// popBatch pops the batch, passes each chain to isGood, and returns the batch with Unpop. isGood
// fails the test for a chain that is neither good nor refused as it should be.
func (g *guest) popBatch(t *testing.T, isGood func(c virtqueue.Chain) bool) (good, hostile int) {
	t.Helper()
	g.b.Reset()
	if n, err := g.q.Pop(g.b, batch); n != batch || err != nil {
		t.Fatal(n, err)
	}
	for _, c := range g.b.Chains {
		if isGood(c) {
			good++
		}
	}
	g.q.Unpop(g.b, batch)
	return good, batch - good
}

func TestDoubleFetchOfLength(t *testing.T) {
	for name, flags := range map[string]uint16{"single": 0, "chained": flagNext} {
		t.Run(name, func(t *testing.T) {
			g := mapped(t, 0)
			good, bad := desc{0x1800, 16, flags, 1}, desc{0x1800, 0x10000, flags, 1}
			g.SetDesc(1, desc{0x1000, 8, 0, 0})
			g.SetDesc(0, good)
			g.offerBatch()
			flipping(t, looks, func(hostile bool) {
				if hostile {
					g.SetDesc(0, bad)
				} else {
					g.SetDesc(0, good)
				}
			}, func() (int, int) {
				return g.popBatch(t, func(c virtqueue.Chain) bool {
					if c.Err == nil && len(c.Readable[0]) == 16 {
						return true
					}
					if c.Err != virtqueue.ErrAddress {
						t.Fatal(c)
					}
					return false
				})
			})
		})
	}
}

func TestDoubleFetchOfAddress(t *testing.T) {
	g := mapped(t, 0)
	data := g.Bytes(buf{Addr: 0x1800, Len: 16})
	g.SetDesc(0, desc{0x1800, 16, flagWrite, 0})
	g.offerBatch()
	flipping(t, looks, func(hostile bool) {
		if hostile {
			g.SetDesc(0, desc{0x1ff8, 16, flagWrite, 0})
		} else {
			g.SetDesc(0, desc{0x1800, 16, flagWrite, 0})
		}
	}, func() (int, int) {
		return g.popBatch(t, func(c virtqueue.Chain) bool {
			if c.Err == nil && sameMemory(c.Writable[0], data) {
				return true
			}
			if c.Err != virtqueue.ErrAddress {
				t.Fatal(c)
			}
			return false
		})
	})
}

// A buffer that is checked as readable must not be handed out as writable, or without a piece.
func TestDoubleFetchOfFlags(t *testing.T) {
	g := mapped(t, 0)
	g.SetDesc(0, desc{0x1800, 16, 0, 0})
	g.offerBatch()
	flipping(t, looks, func(hostile bool) {
		if hostile {
			g.SetDesc(0, desc{0x1800, 16, flagWrite | flagNext, 0xffff})
		} else {
			g.SetDesc(0, desc{0x1800, 16, 0, 0})
		}
	}, func() (int, int) {
		return g.popBatch(t, func(c virtqueue.Chain) bool {
			if c.Err == nil && len(c.Readable) == 1 && len(c.Writable) == 0 {
				return true
			}
			if c.Err != virtqueue.ErrNext {
				t.Fatal(c)
			}
			return false
		})
	})
}

// popOne pops one chain from a copy of the queue, which may break. Unlike a look at a whole batch,
// nearly every such look coincides with a change, so that an eighth as many suffice.
func (g *guest) popOne(t *testing.T, want error) (good, hostile int) {
	t.Helper()
	g.b.Reset()
	q := *g.q
	n, err := q.Pop(g.b, batch)
	if err == nil && n == 1 && g.b.Chains[0].Head() == 0 && len(g.b.Chains[0].Readable) == 1 {
		return 1, 0
	}
	if err != want || n != 0 {
		t.Fatal(n, err)
	}
	return 0, 1
}

func TestDoubleFetchOfHead(t *testing.T) {
	g := mapped(t, 0)
	g.SetDesc(0, desc{0x1800, 16, 0, 0})
	g.Offer(0)
	g.Publish()
	flipping(t, looks/8, func(hostile bool) {
		if hostile {
			g.SetAvailEntry(0, 0xffff)
		} else {
			g.SetAvailEntry(0, 0)
		}
	}, func() (int, int) { return g.popOne(t, virtqueue.ErrHead) })
}

func TestDoubleFetchOfAvailIndex(t *testing.T) {
	g := mapped(t, 0)
	g.SetDesc(0, desc{0x1800, 16, 0, 0})
	g.Offer(0)
	g.Publish()
	flipping(t, looks/8, func(hostile bool) {
		if hostile {
			g.SetAvailIdx(batch + 1)
		} else {
			g.SetAvailIdx(1)
		}
	}, func() (int, int) { return g.popOne(t, virtqueue.ErrAvailIndex) })
}

// The fields of an indirect table are ordinary memory, in any alignment. The bytes of one field may
// be a mixture of both values; a mixture must stay in bounds, too.
func TestDoubleFetchInIndirectTable(t *testing.T) {
	g := mapped(t, indirect)
	const table = 0x1100
	g.Write(table, desc{0x1800, 16, flagNext, 1}.Append(nil))
	g.Write(table+16, desc{0x1900, 16, 0, 0}.Append(nil))
	g.SetDesc(0, desc{table, 32, flagIndirect, 0})
	g.offerBatch()
	raw := g.Bytes(buf{Addr: table, Len: 32})
	good := g.Regions()[0] // the lower address
	flipping(t, looks, func(hostile bool) {
		n, next := uint32(16), uint16(1)
		if hostile {
			n, next = 0x10000, 0xffff
		}
		binary.LittleEndian.PutUint32(raw[8:], n)
		binary.LittleEndian.PutUint16(raw[14:], next)
	}, func() (int, int) {
		return g.popBatch(t, func(c virtqueue.Chain) bool {
			switch c.Err {
			case nil:
				if len(c.Readable) != 2 || !sameMemory(c.Readable[0], good.Mem[0x800:0x810]) || !sameMemory(c.Readable[1], good.Mem[0x900:0x910]) {
					t.Fatal(c)
				}
				return true
			case virtqueue.ErrAddress, virtqueue.ErrNext, virtqueue.ErrZeroLen:
				return false
			}
			t.Fatal(c.Err)
			return false
		})
	})
}

// In a packed ring length, id and flags share one word, and the address is in another. All values
// that are used have to come from one load each.
func TestDoubleFetchOfPackedDescriptor(t *testing.T) {
	for name, good := range map[string][]pdesc{
		"single":  {{0x1800, 16, 0, flagAvail}},
		"chained": {{0x1800, 16, 9, flagAvail | flagNext}, {0x1000, 8, 0, flagAvail}},
	} {
		t.Run(name, func(t *testing.T) {
			g := mapped(t, packed)
			g.put(0, good...)
			g.pop(t, 1) // from now on the region is the hot one
			g.q.Unpop(g.b, 1)
			flipping(t, looks/8, func(hostile bool) {
				if hostile {
					g.put(0, pdesc{0x1800, 0x10000, 7, flagAvail | flagWrite})
				} else {
					g.put(0, good[0])
				}
			}, func() (int, int) {
				g.b.Reset()
				q := *g.q
				if n, err := q.Pop(g.b, batch); n == 0 || err != nil {
					t.Fatal(n, err)
				}
				c := &g.b.Chains[0]
				switch {
				case c.Err == nil && c.Head() == 0 && len(c.Readable) == len(good) && len(c.Readable[0]) == 16 && len(c.Writable) == 0:
					return 1, 0
				case c.Err != virtqueue.ErrAddress || c.Head() != 7:
					t.Fatalf("chain %d: %d readable and %d writable pieces, %v", c.Head(), len(c.Readable), len(c.Writable), c.Err)
				}
				return 0, 1
			})
		})
	}
}
