package virtqueue_test

import (
	"errors"
	"iter"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

const (
	indirect = 1 << virtqueue.FeatureIndirectDesc
	eventIdx = 1 << virtqueue.FeatureEventIdx
	packed   = 1 << virtqueue.FeatureRingPacked
	inOrder  = 1 << virtqueue.FeatureInOrder

	flagNext     = virtqueuetest.FlagNext
	flagWrite    = virtqueuetest.FlagWrite
	flagIndirect = virtqueuetest.FlagIndirect
)

type buf = virtqueuetest.Buf

// desc is a virtqueuetest.Desc that may be written without field names.
type desc struct {
	Addr        uint64
	Len         uint32
	Flags, Next uint16
}

func (d desc) Append(b []byte) []byte { return virtqueuetest.Desc(d).Append(b) }

func (g *guest) SetDesc(i uint16, d desc) { g.Driver.SetDesc(i, virtqueuetest.Desc(d)) }

// A guest is both ends of a queue: a driver, well-behaved or not, and the device side under test.
type guest struct {
	*virtqueuetest.Driver
	q *virtqueue.Queue
	b *virtqueue.Batch
}

// newGuest returns a guest with one region of memory.
func newGuest(t testing.TB, size int, features uint64) *guest {
	t.Helper()
	drv, err := virtqueuetest.NewLocal(size, features, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, drv)
}

// ringsAt is the address of the region of newGuestWith that holds the rings, guest-physical and
// front-end virtual.
const ringsAt = 1 << 40

// newGuestWith returns a guest whose rings are in a separate region, besides the given ones.
func newGuestWith(t testing.TB, size int, features uint64, data ...virtqueue.Region) *guest {
	t.Helper()
	cfg, end := virtqueuetest.Layout(size, ringsAt)
	cfg.Features = features
	drv, err := virtqueuetest.New(append(data, virtqueue.Region{
		GuestAddr: ringsAt,
		UserAddr:  ringsAt,
		Mem:       make([]byte, (end-ringsAt+4095)&^4095),
	}), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, drv)
}

func start(t testing.TB, drv *virtqueuetest.Driver) *guest {
	t.Helper()
	q, err := virtqueue.New(drv.Memory(), drv.Config())
	if err != nil {
		t.Fatal(err)
	}
	return &guest{drv, q, virtqueue.NewBatch(64)}
}

// offer makes the chain at head available, whatever descriptors are there, and pops it.
func (g *guest) offer(t testing.TB, head uint16) virtqueue.Chain {
	t.Helper()
	g.Offer(head)
	g.Publish()
	g.b.Reset()
	n, err := g.q.Pop(g.b, 64)
	if n != 1 || err != nil {
		t.Fatalf("popped %d chains, %v", n, err)
	}
	c := g.b.Chains[0]
	if c.Head() != head {
		t.Fatalf("popped chain %d instead of %d", c.Head(), head)
	}
	return c
}

// refuses checks that the chain at head is handed out as invalid with the given error, can be
// completed, and that a valid chain passes afterwards.
func (g *guest) refuses(t testing.TB, head uint16, want error) {
	t.Helper()
	c := g.offer(t, head)
	if !errors.Is(c.Err, want) {
		t.Fatalf("chain's error is %v, want %v", c.Err, want)
	}
	if c.Readable != nil || c.Writable != nil {
		t.Fatalf("an invalid chain has pieces: %v", c)
	}
	g.completes(t, c)
	if err := g.q.Err(); err != nil {
		t.Fatalf("an invalid chain broke the queue: %v", err)
	}
}

// completes returns a chain with length 0 and checks the used ring.
func (g *guest) completes(t testing.TB, c virtqueue.Chain) {
	t.Helper()
	g.q.Complete(&c, 0)
	g.q.Flush()
	if head, n, ok := g.PollUsed(); !ok || head != c.Head() || n != 0 {
		t.Fatalf("used entry (%d, %d, %t), want chain %d with length 0", head, n, ok, c.Head())
	}
}

// named returns a chain of which only the head is known, as if the chain had been popped.
func named(head uint16) *virtqueue.Chain { return virtqueue.ChainOf(head) }

// region returns n bytes of memory at the same guest-physical and user address.
func region(addr uint64, n int) virtqueue.Region {
	return virtqueue.Region{GuestAddr: addr, UserAddr: addr, Mem: make([]byte, n)}
}

// sameMemory reports whether a and b are the same bytes in memory, not merely equal.
func sameMemory(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// eventfd returns a new eventfd.
func eventfd(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// batch is the number of chains that a device takes at once.
const batch = 64

// everyFormat yields all combinations of features that change the format of a ring, and a name for
// each.
func everyFormat() iter.Seq2[uint64, string] {
	names := map[uint64]string{packed: "packed", inOrder: "in-order", eventIdx: "event-idx", indirect: "indirect"}
	return func(yield func(uint64, string) bool) {
		for i := range 16 {
			var features uint64
			name := "split"
			for j, f := range []uint64{packed, inOrder, eventIdx, indirect} {
				if i>>j&1 == 0 {
					continue
				}
				if features |= f; f == packed {
					name = names[f]
				} else {
					name += "," + names[f]
				}
			}
			if !yield(features, name) {
				return
			}
		}
	}
}
