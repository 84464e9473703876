package virtqueue_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// A model is an idealized queue: lists in ordinary memory. Random operations are applied to the
// real queue and to the model; both must agree on the chains, their order and every byte.
type model struct {
	*guest
	t   *testing.T
	rnd *rand.Rand

	content   map[uint16]*request // by head: chains that have not been returned to the driver
	offered   []uint16            // by the driver, not yet published
	available []uint16            // published, not yet popped
	popped    []virtqueue.Chain   // held by the device
	completed []virtqueue.Chain   // not yet flushed
	record    []byte              // in-flight record; nil: none
	inflight  []uint16            // popped and not flushed, in the order of popping
	used      []uint16            // flushed, not yet taken by the driver
	done      int
}

// A request is one chain's buffers and their expected contents.
type request struct {
	readable, writable []buf
	sent, answer       []byte
	wrote              int
}

func TestAgainstModel(t *testing.T) {
	for features, name := range everyFormat() {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s/seed=%d", name, seed), func(t *testing.T) {
				m := newModel(t, features, seed)
				for m.done < 1000 {
					m.step()
				}
				m.drain()
			})
		}
	}
}

// newModel makes a queue that begins shortly before its indices wrap, and memory in which buffers
// straddle regions that are apart and in another order here.
func newModel(t *testing.T, features, seed uint64) *model {
	rnd := rand.New(rand.NewPCG(seed, 0))
	n, base := 1<<rnd.IntN(9), 0xff00+uint32(rnd.IntN(256))
	if features&packed != 0 {
		n = 1 + rnd.IntN(300)
		base = uint32(rnd.IntN(n)) | uint32(rnd.IntN(2))<<15
	}
	cfg, end := virtqueuetest.Layout(n, ringsAt)
	cfg.Features = features
	cfg.Base = base
	regions := []virtqueue.Region{region(ringsAt, int(end-ringsAt))}
	const room = 1 << 18
	mem := make([]byte, room)
	for at, top := uint64(0), room; at < room; {
		n := min(1+rnd.IntN(9000), room-int(at))
		top -= n
		regions = append(regions, virtqueue.Region{GuestAddr: 0x1000 + at, UserAddr: 0x1000 + at, Mem: mem[top : top+n]})
		at += uint64(n)
	}
	drv, err := virtqueuetest.New(regions, cfg)
	if err != nil {
		t.Fatal(err)
	}
	drv.Room(0x1000, room)
	m := &model{guest: start(t, drv), t: t, rnd: rnd, content: map[uint16]*request{}}
	if rnd.IntN(2) == 0 {
		m.record = make([]byte, virtqueue.InflightSize(n, features&packed != 0))
	}
	m.setUp()
	return m
}

// setUp prepares a new queue.
func (m *model) setUp() {
	if err := m.q.SetInflight(m.record); err != nil {
		m.t.Fatal(err)
	}
	m.q.SetCall(eventfd(m.t))
	m.q.Flush()
}

// die replaces the queue by one that knows only the contents of shared memory.
func (m *model) die() {
	if m.record == nil {
		return
	}
	cfg := m.Config() // whose base is the driver's initial one
	q, err := virtqueue.New(m.Memory(), cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.q = q
	m.setUp()
	m.available = append(m.inflight, m.available...)
	m.popped, m.completed, m.inflight = nil, nil, nil
	if n, err := m.q.Available(); n != len(m.available) || err != nil {
		m.t.Fatalf("%d available after a crash, %v; should be %d", n, err, len(m.available))
	}
}

func (m *model) step() {
	switch m.rnd.IntN(16) {
	case 0, 1, 2, 3:
		m.offer()
	case 4, 5:
		m.Publish()
		m.available = append(m.available, m.offered...)
		m.offered = nil
	case 6, 7:
		m.pop(m.rnd.IntN(12))
	case 8:
		m.popAndUnpop()
	case 9, 10:
		m.complete(m.rnd.IntN(12))
	case 11:
		m.rollback()
	case 12:
		m.flush()
	case 13, 14:
		m.take()
	case 15:
		m.other()
	}
}

// offer adds a chain with random pieces and random content.
func (m *model) offer() {
	r := &request{}
	pieces := func() (bufs []buf) {
		for range m.rnd.IntN(4) {
			bufs = append(bufs, m.Alloc(1+m.rnd.IntN(600)))
		}
		return bufs
	}
	r.readable, r.writable = pieces(), pieces()
	add := m.AddChain
	if m.Config().Features&indirect != 0 && m.rnd.IntN(2) == 0 {
		add = m.AddIndirect
	}
	head, err := add(r.readable, r.writable)
	if err != nil { // no descriptors left, or no pieces at all
		m.FreeBuf(append(r.readable, r.writable...)...)
		return
	}
	for _, b := range r.readable {
		p := make([]byte, b.Len)
		for i := range p {
			p[i] = byte(m.rnd.Uint32())
		}
		m.Write(b.Addr, p)
		r.sent = append(r.sent, p...)
	}
	if m.content[head] != nil {
		m.t.Fatalf("the driver used descriptor %d twice", head)
	}
	m.content[head] = r
	m.offered = append(m.offered, head)
}

// pop pops up to limit chains and compares them with those that were offered.
func (m *model) pop(limit int) {
	if n, err := m.q.Available(); n != len(m.available) || err != nil {
		m.t.Fatalf("%d available, %v; should be %d", n, err, len(m.available))
	}
	b := virtqueue.NewBatch(1) // lives as long as its chains, and has to grow
	n, err := m.q.Pop(b, limit)
	want := min(limit, len(m.available))
	if n > 0 && n < want && m.record != nil && err == nil {
		// Resubmitted chains come in a batch without others.
		var more int
		more, err = m.q.Pop(b, limit-n)
		n += more
	}
	if n != want || len(b.Chains) != want || err != nil {
		m.t.Fatalf("popped %d, %v; should be %d", n, err, want)
	}
	for i, c := range b.Chains {
		r := m.content[m.available[i]]
		if c.Head() != m.available[i] || c.Err != nil {
			m.t.Fatalf("chain %d, %v; should be %d", c.Head(), c.Err, m.available[i])
		}
		if !bytes.Equal(bytes.Join(c.Readable, nil), r.sent) {
			m.t.Fatalf("chain %d is not as it was sent", c.Head())
		}
		if got, want := virtqueue.Len(c.Writable), size(r.writable); got != want {
			m.t.Fatalf("chain %d has %d writable bytes, should be %d", c.Head(), got, want)
		}
	}
	m.inflight = append(m.inflight, m.available[:n]...)
	m.available = m.available[n:]
	m.popped = append(m.popped, b.Chains...)
}

func (m *model) popAndUnpop() {
	before := len(m.popped)
	heads := slices.Clone(m.available)
	m.pop(8)
	n := len(m.popped) - before
	back := m.rnd.IntN(n + 1)
	b := &virtqueue.Batch{Chains: slices.Clone(m.popped[before:])}
	m.q.Unpop(b, back)
	m.popped = append(m.popped[:before], b.Chains...)
	m.inflight = m.inflight[:len(m.inflight)-back]
	m.available = heads[n-back:]
}

// complete completes up to n chains that the device holds, in any order if that is allowed.
func (m *model) complete(n int) {
	for range min(n, len(m.popped)) {
		i := m.rnd.IntN(len(m.popped))
		if m.Config().Features&inOrder != 0 {
			i = 0
		}
		c := m.popped[i]
		m.popped = slices.Delete(m.popped, i, i+1)
		r := m.content[c.Head()]
		r.answer = nil
		for _, w := range c.Writable {
			for j := range w {
				w[j] = byte(m.rnd.Uint32())
			}
			r.answer = append(r.answer, w...)
		}
		r.wrote = len(r.answer)
		m.q.Complete(&c, uint32(r.wrote))
		m.completed = append(m.completed, c)
	}
	m.checkPending()
}

// rollback rolls completions back. The model's device immediately completes the same chains again,
// in reverse order.
func (m *model) rollback() {
	keep := m.rnd.IntN(len(m.completed) + 1)
	m.q.Rollback(keep)
	again := slices.Clone(m.completed[keep:])
	m.completed = m.completed[:keep]
	m.checkPending()
	if m.Config().Features&inOrder == 0 {
		slices.Reverse(again)
	}
	for _, c := range again {
		m.q.Complete(&c, uint32(m.content[c.Head()].wrote))
		m.completed = append(m.completed, c)
	}
	m.checkPending()
}

func (m *model) checkPending() {
	if m.q.Pending() != len(m.completed) {
		m.t.Fatalf("%d pending, should be %d", m.q.Pending(), len(m.completed))
	}
}

func (m *model) flush() {
	m.q.Flush()
	for _, c := range m.completed {
		m.used = append(m.used, c.Head())
		m.inflight = slices.DeleteFunc(m.inflight, func(head uint16) bool { return head == c.Head() })
	}
	m.completed = nil
	m.checkPending()
}

// take makes the driver take all used chains, and checks them.
func (m *model) take() {
	for _, want := range m.used {
		head, n, ok := m.PollUsed()
		if !ok || head != want {
			m.t.Fatalf("used chain %d, %t; should be %d", head, ok, want)
		}
		r := m.content[head]
		var got []byte
		for _, b := range r.writable {
			got = append(got, m.Read(b)...)
		}
		if int(n) != r.wrote || !bytes.Equal(got, r.answer) {
			m.t.Fatalf("chain %d was returned with %d bytes of %d, or with other bytes", head, n, r.wrote)
		}
		delete(m.content, head)
		m.Release(head)
		m.FreeBuf(append(r.readable, r.writable...)...)
		m.done++
	}
	m.used = nil
	if head, _, ok := m.PollUsed(); ok {
		m.t.Fatalf("used chain %d that was not completed", head)
	}
}

// other does things that must make no difference.
func (m *model) other() {
	switch m.rnd.IntN(5) {
	case 0:
		if m.q.Arm() != (len(m.available) > 0) {
			m.t.Fatalf("Arm does not see that %d are available", len(m.available))
		}
	case 1:
		m.q.Disarm()
	case 2:
		if m.Driver.Arm() != (len(m.used) > 0) {
			m.t.Fatalf("the driver does not see that %d are used", len(m.used))
		}
	case 3:
		if err := m.q.SetMemory(m.Memory()); err != nil {
			m.t.Fatal(err)
		}
	case 4:
		m.die()
	}
}

// drain completes everything that is under way. Every chain must have been returned.
func (m *model) drain() {
	m.Publish()
	m.available = append(m.available, m.offered...)
	m.pop(len(m.available))
	m.complete(len(m.popped))
	m.flush()
	m.take()
	if len(m.content) != 0 || m.Free() != m.Config().Size {
		m.t.Fatalf("%d chains lost, %d of %d descriptors free", len(m.content), m.Free(), m.Config().Size)
	}
}

func size(bufs []buf) (n int) {
	for _, b := range bufs {
		n += int(b.Len)
	}
	return n
}
