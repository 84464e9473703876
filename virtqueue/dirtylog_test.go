package virtqueue_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

const page = 4096

// marked returns the pages that are marked in a log, and clears the log.
func marked(mem []byte) (pages []uint64) {
	for i, b := range mem {
		for bit := range 8 {
			if b>>bit&1 != 0 {
				pages = append(pages, uint64(8*i+bit))
			}
		}
	}
	clear(mem)
	return pages
}

func newLog(t testing.TB, n int) (*virtqueue.DirtyLog, []byte) {
	t.Helper()
	mem := make([]byte, n)
	l, err := virtqueue.NewDirtyLog(mem)
	if err != nil {
		t.Fatal(err)
	}
	return l, mem
}

func TestDirtyLogMark(t *testing.T) {
	l, mem := newLog(t, 16) // 128 pages
	for _, c := range []struct {
		gpa, n uint64
		want   []uint64
	}{
		{0, 0, nil},
		{0, 1, []uint64{0}},
		{page - 1, 1, []uint64{0}},
		{page, 1, []uint64{1}},
		{page - 1, 2, []uint64{0, 1}},
		{7 * page, page, []uint64{7}},
		{7 * page, page + 1, []uint64{7, 8}},
		{31*page + 5, 2 * page, []uint64{31, 32, 33}},
		{127*page + 4095, 1, []uint64{127}},
		{127 * page, 100 * page, []uint64{127}},
		{128 * page, 1, nil},
		{math.MaxUint64, 1, nil},
		{math.MaxUint64, 2, nil},
		{126 * page, math.MaxUint64, []uint64{126, 127}}, // wraps around the address space
		{1 << 63, 1 << 63, nil},
		{128*page - 1, math.MaxUint64, []uint64{127}},
	} {
		l.Mark(c.gpa, c.n)
		if got := marked(mem); !slices.Equal(got, c.want) {
			t.Errorf("%d bytes at %#x: marked %v, want %v", c.n, c.gpa, got, c.want)
		}
	}
}

func TestBadDirtyLog(t *testing.T) {
	mem := make([]byte, 64)
	for off := range 4 {
		for n := range 12 {
			l, err := virtqueue.NewDirtyLog(mem[off:][:n])
			if want := off == 0 && n%4 == 0; (err == nil) != want || err != nil && !errors.Is(err, virtqueue.ErrLog) {
				t.Errorf("%d bytes at +%d: %v", n, off, err)
			}
			if err == nil {
				l.Mark(0, 1<<20) // as far as it goes
			}
		}
	}
	for i, b := range mem {
		if (b != 0) != (i < 8) {
			t.Errorf("byte %d of a log of 8 is %#x", i, b)
		}
	}
}

func TestDirtyLogCovers(t *testing.T) {
	l, _ := newLog(t, 4) // 32 pages
	for _, c := range []struct {
		addr uint64
		n    int
		want bool
	}{
		{0, 1, true}, {0, 32 * page, true}, {0, 32*page + 1, false}, {31 * page, page, true}, {32*page - 1, 2, false}, {1 << 60, 1, false},
	} {
		m, err := virtqueue.NewMemory([]virtqueue.Region{region(c.addr, c.n)})
		if err != nil {
			t.Fatal(err)
		}
		if l.Covers(m) != c.want {
			t.Errorf("%d bytes at %#x: covered is %t", c.n, c.addr, !c.want)
		}
	}
	if m, _ := virtqueue.NewMemory(nil); !l.Covers(m) {
		t.Error("no memory is not covered")
	}
}

// Several queues set bits in a word at the same time, while the front-end clears them.
func TestDirtyLogIsAtomic(t *testing.T) {
	l, mem := newLog(t, 4)
	lost := 0
	together(
		func() {
			for p := range uint64(16) {
				l.Mark(2*p*page, 1)
			}
		},
		func() {
			for p := range uint64(16) {
				l.Mark((2*p+1)*page, 1)
			}
		},
		func() { lost += 32 - len(marked(mem)) })
	if lost != 0 {
		t.Fatalf("%d marks were lost", lost)
	}
}

// The front-end may clear a mark that is already set while the device sets it again. Either the
// front-end copies the page after the device's write, or the mark is set again.
func TestDirtyLogMarksAgain(t *testing.T) {
	_, data := memfd(t, page)
	_, log := memfd(t, page)
	l, err := virtqueue.NewDirtyLog(log)
	if err != nil {
		t.Fatal(err)
	}
	written, mark := (*uint32)(unsafe.Pointer(&data[0])), (*uint32)(unsafe.Pointer(&log[0]))
	var copied uint32
	lost, round := 0, uint32(0)
	together(
		func() { *written = round + 1; l.Mark(0, 4) },
		func() { atomic.SwapUint32(mark, 0); copied = atomic.LoadUint32(written) },
		func() {
			round++
			if copied != round && *mark == 0 {
				lost++
			}
			*mark = 1
		})
	if lost != 0 {
		t.Fatalf("%d writes would not have been copied", lost)
	}
}

// Used elements, indices and event suppression are written before they are marked: when marking
// faults because the log has vanished, the write has been done.
func TestRingIsWrittenBeforeItIsMarked(t *testing.T) {
	for features, name := range everyFormat() {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, 4, features)
			head := must(g.Build([]buf{g.Alloc(8)}, nil))
			g.Offer(head)
			g.Publish()
			c := g.pop(t, 1)[0]
			fd, mem := memfd(t, 16*page)
			l, err := virtqueue.NewDirtyLog(mem)
			if err != nil {
				t.Fatal(err)
			}
			faults := func(f func()) {
				t.Helper()
				if !l.Contains(fault(t, f)) {
					t.Error("nothing is marked")
				}
			}
			g.q.SetLog(l, 0, true)
			if err := unix.Ftruncate(fd, 0); err != nil {
				t.Fatal(err)
			}
			g.q.Complete(&c, 0)
			faults(g.q.Flush)
			if id, _, ok := g.PollUsed(); !ok || id != head {
				t.Error("the used element is marked too early")
			}
			g.Disarm() // the driver does not look at what is written to the ring from now on
			asked := func() bool {
				g.Offer(head)
				return g.Publish()
			}
			if features&eventIdx == 0 {
				faults(g.q.Disarm)
				if asked() {
					t.Error("suppression is marked too early")
				}
			}
			faults(func() { g.q.Arm() })
			if !asked() {
				t.Error("the request for a notification is marked too early")
			}
		})
	}
}

func TestDirtyLogVanishes(t *testing.T) {
	fd, mem := memfd(t, page)
	l, err := virtqueue.NewDirtyLog(mem)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, 4, 0)
	g.q.SetLog(l, 0, true)
	if err := unix.Ftruncate(fd, 0); err != nil {
		t.Fatal(err)
	}
	if addr := fault(t, func() { g.q.Arm() }); !l.Contains(addr) || g.Memory().Contains(addr) {
		t.Fatalf("fault at %#x", addr)
	}
}

// A logged guest has memory in several regions with gaps, some of them contiguous for the guest but
// not here, and a copy of that memory.
type logged struct {
	*guest
	t    *testing.T
	rnd  *rand.Rand
	log  []byte
	copy [][]byte // of each region, as of the last check of the log
}

func newLogged(t *testing.T, features uint64, seed uint64) *logged {
	rnd := rand.New(rand.NewPCG(seed, 7))
	size := 1024 // two pages of used entries
	base := uint32(0xfff0 + rnd.IntN(16))
	if features&packed != 0 {
		size = 300 // more than a page of descriptors
		base = uint32(rnd.IntN(size)) | uint32(rnd.IntN(2))<<15
	}
	const rings, user = 0x20_0000, 1 << 40
	// Areas far apart. The used ring's head, its entries and avail_event are in separate pages,
	// the descriptor ring begins in the middle of one.
	cfg := virtqueue.Config{Size: size, Desc: user + 0x0810, Avail: user + 0x5ffc, Used: user + 0x7ffc, Features: features, Base: base}
	mem := make([]byte, 0x40000)
	regions := []virtqueue.Region{{GuestAddr: rings, UserAddr: user, Mem: make([]byte, 0xb000)}}
	for at, top := 0, len(mem); at < len(mem); at += 0x8000 {
		top -= 0x8000
		gap := uint64(0)
		if at >= 0x20000 {
			gap = 0x3000
		}
		regions = append(regions, virtqueue.Region{GuestAddr: 0x1000 + uint64(at) + gap, UserAddr: 0x1000 + uint64(at), Mem: mem[top : top+0x8000]})
	}
	drv, err := virtqueuetest.New(regions, cfg)
	if err != nil {
		t.Fatal(err)
	}
	drv.Room(0x1000, 0x20000)
	l := &logged{guest: start(t, drv), t: t, rnd: rnd}
	l.q.SetCall(eventfd(t))
	var dirty *virtqueue.DirtyLog
	dirty, l.log = newLog(t, page)
	l.q.SetLog(dirty, rings+0x7ffc, true)
	if !dirty.Covers(l.Memory()) {
		t.Fatal("the log is too small")
	}
	for _, r := range l.Regions() {
		l.copy = append(l.copy, slices.Clone(r.Mem))
	}
	return l
}

// device runs one step of the device and checks that the pages that have changed, and no
// others, are marked.
func (l *logged) device(what string, do func()) {
	l.t.Helper()
	for i, r := range l.Regions() {
		copy(l.copy[i], r.Mem)
	}
	do()
	changed := map[uint64]bool{}
	for i, r := range l.Regions() {
		for j := 0; j < len(r.Mem); j += page { // regions begin at page boundaries
			if end := min(j+page, len(r.Mem)); !bytes.Equal(r.Mem[j:end], l.copy[i][j:end]) {
				changed[(r.GuestAddr+uint64(j))/page] = true
			}
		}
	}
	for _, p := range marked(l.log) {
		if !changed[p] {
			l.t.Fatalf("%s: page %#x is marked but has not changed", what, p)
		}
		delete(changed, p)
	}
	for p := range changed {
		l.t.Fatalf("%s: page %#x has changed but is not marked", what, p)
	}
}

// With a log exactly the pages that are written to are marked: payload, used elements, index and
// event suppression, in all formats. The device writes new values each time, so that everything it
// writes shows as a change.
func TestLogMarksWhatIsWritten(t *testing.T) {
	for features, name := range everyFormat() {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%s/seed=%d", name, seed), func(t *testing.T) {
				l := newLogged(t, features, seed)
				for range 40 {
					l.round()
				}
			})
		}
	}
}

func (l *logged) round() {
	l.t.Helper()
	var heads []uint16
	for range 1 + l.rnd.IntN(6) {
		bufs := func() (b []buf) {
			for range l.rnd.IntN(3) {
				b = append(b, l.Alloc(1+l.rnd.IntN(6000)))
			}
			return b
		}
		add := l.AddChain
		if l.Config().Features&indirect != 0 && l.rnd.IntN(2) == 0 {
			add = l.AddIndirect
		}
		if head, err := add(bufs(), bufs()); err == nil {
			heads = append(heads, head)
		}
	}
	l.Publish()
	l.b.Reset()
	l.device("pop", func() {
		if _, err := l.q.Pop(l.b, 64); err != nil {
			l.t.Fatal(err)
		}
	})
	for i := range l.b.Chains {
		c := &l.b.Chains[i]
		left := 0
		if n := virtqueue.Len(c.Writable); n > 0 {
			left = l.rnd.IntN(n + 1)
		}
		l.device("complete", func() {
			wrote := left
			for _, w := range c.Writable {
				w = w[:min(left, len(w))]
				for j := range w {
					w[j]++
				}
				left -= len(w)
			}
			l.q.Complete(c, uint32(wrote))
		})
	}
	// The used index and elements may be written with the values that they already have, so
	// that their pages are marked without a change. Different values are stored first.
	if l.Config().Features&packed == 0 {
		_, idx := l.Used()
		for i := range uint16(16) {
			l.SetUsedEntry((idx+i)%uint16(l.Config().Size), 0xaaaa, 0xaaaa)
		}
	}
	if len(l.b.Chains) > 0 {
		l.device("flush", l.q.Flush)
	}
	l.events()
	for range heads {
		head, _, ok := l.PollUsed()
		if !ok {
			l.t.Fatal("not used")
		}
		l.Release(head)
	}
	l.Room(0x1000, 0x20000)
}

// events asks for notifications, each time after the event fields have been overwritten.
func (l *logged) events() {
	if l.Config().Features&packed != 0 {
		l.SetDeviceEvent(0xdead)
		l.device("arm", func() { l.q.Arm() })
		l.SetDeviceEvent(0xdead)
		l.device("disarm", func() { l.q.Disarm() })
		return
	}
	spoil := func() {
		_, idx := l.Used()
		l.SetUsed(0xdead, idx)
		if l.Config().Features&eventIdx != 0 {
			l.SetAvailEvent(l.q.LastAvail() + 77)
		}
	}
	spoil()
	l.device("arm", func() { l.q.Arm() })
	if l.Config().Features&eventIdx == 0 {
		spoil()
	}
	l.device("disarm", func() { l.q.Disarm() })
	l.SetUsed(0, l.q.UsedIdx())
}

// Without VHOST_VRING_F_LOG the rings are not marked; without a log nothing is.
func TestLogOfPayloadOnly(t *testing.T) {
	for _, features := range []uint64{0, packed} {
		g := newGuest(t, 8, features)
		dirty, log := newLog(t, 1<<17)
		a := buf{Addr: g.Alloc(3 * page).Addr, Len: 2 * page}
		round := func() []uint64 {
			head := must(g.AddChain(nil, []buf{a}))
			g.Publish()
			g.q.Complete(&g.pop(t, 1)[0], page)
			g.q.Flush()
			g.q.Arm()
			g.q.Disarm()
			g.PollUsed()
			g.Release(head)
			return marked(log)
		}
		payload := []uint64{a.Addr / page}
		if a.Addr%page != 0 {
			payload = append(payload, a.Addr/page+1)
		}
		if p := round(); p != nil {
			t.Fatal(p)
		}
		g.q.SetLog(dirty, 0, false)
		if p := round(); !slices.Equal(p, payload) {
			t.Fatal(p, payload)
		}
		g.q.SetLog(dirty, 0, true)
		if p := round(); len(p) <= len(payload) {
			t.Fatal(p)
		}
		g.q.SetLog(nil, 0, true)
		if p := round(); p != nil {
			t.Fatal(p)
		}
	}
}

// After a change of memory the same bytes may be at another guest-physical address.
func TestLogAfterSetMemory(t *testing.T) {
	mem := make([]byte, 4*page)
	at := func(addr uint64) virtqueue.Region { return virtqueue.Region{GuestAddr: addr, UserAddr: addr, Mem: mem} }
	g := newGuestWith(t, 8, 0, at(0x1000))
	dirty, log := newLog(t, page)
	g.q.SetLog(dirty, 0, false)
	round := func(addr uint64) []uint64 {
		g.SetDesc(0, desc{addr, 8, flagWrite, 0})
		c := g.offer(t, 0)
		if c.Err != nil {
			t.Fatal(c.Err)
		}
		g.q.Complete(&c, 8)
		g.q.Flush()
		g.PollUsed()
		return marked(log)
	}
	if p := round(0x1000); fmt.Sprint(p) != "[1]" {
		t.Fatal(p)
	}
	moved, err := virtqueue.NewMemory([]virtqueue.Region{at(0x9000), g.Regions()[1]})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.q.SetMemory(moved); err != nil {
		t.Fatal(err)
	}
	if p := round(0x9000); fmt.Sprint(p) != "[9]" {
		t.Fatal(p)
	}
}

// Logging does not allocate.
func TestLogDoesNotAllocate(t *testing.T) {
	g := newGuest(t, 64, 0)
	dirty, _ := newLog(t, 1<<17)
	g.q.SetLog(dirty, 0, true)
	head := must(g.Build(nil, []buf{g.Alloc(256), g.Alloc(256)}))
	if n := testing.AllocsPerRun(100, func() {
		for range 32 {
			g.Offer(head)
		}
		g.Publish()
		for i := range g.pop(t, 32) {
			g.q.Complete(&g.b.Chains[i], 512)
		}
		g.q.Flush()
		g.q.Arm()
		g.SkipUsed()
	}); n != 0 {
		t.Fatal(n)
	}
}
