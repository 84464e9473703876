package netport_test

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue/virtqueuetest"
)

// A block is the target of a turncoat's descriptors: a header and a frame.
const block = 512

// A turncoat is a driver that changes descriptors, tables, headers and frames while the device is
// working on them.
type turncoat struct {
	*guest
	rnd    *rand.Rand
	data   buf
	writes uint16 // flag of all its descriptors
	r      *ring
	avail  uint16
}

func newTurncoat(g *guest, r *ring, seed uint64) *turncoat {
	t := &turncoat{guest: g, r: r, rnd: rand.New(rand.NewPCG(seed, seed)), data: r.Alloc(64 * block)}
	if r.index%2 == 0 {
		t.writes = virtqueuetest.FlagWrite
	}
	for i := range uint64(64) {
		r.Write(t.data.Addr+i*block, make([]byte, block))
		r.Write(t.data.Addr+i*block, t.frame())
	}
	for i := range uint16(g.cfg.size) {
		r.SetDesc(i, t.desc())
		r.SetAvailEntry(i, i)
	}
	return t
}

// frame returns a header, which may ask for anything, and a frame to guest 0 or 1.
func (t *turncoat) frame() []byte {
	header := make([]byte, t.hdrLen)
	if t.rnd.IntN(4) == 0 {
		for i := range header {
			header[i] = byte(t.rnd.Uint32())
		}
	}
	f := tcp4(t.guest, t.guests[t.rnd.IntN(2)], 100)
	return slices.Concat(header, f)
}

// desc returns a descriptor that is often valid.
func (t *turncoat) desc() virtqueuetest.Desc {
	d := virtqueuetest.Desc{
		Addr:  t.data.Addr + uint64(t.rnd.IntN(64))*block,
		Len:   uint32(12 + 14 + t.rnd.IntN(3*block)),
		Flags: t.writes,
		Next:  uint16(t.rnd.IntN(t.cfg.size)),
	}
	switch t.rnd.IntN(12) {
	case 0:
		d.Addr = t.rnd.Uint64()
	case 1:
		d.Len = t.rnd.Uint32()
	case 2:
		d.Flags = uint16(t.rnd.IntN(8))
	case 3:
		d.Flags |= virtqueuetest.FlagNext
	case 4:
		d.Addr += uint64(t.rnd.IntN(block))
	case 5: // a table, or something like it
		d.Flags, d.Len = virtqueuetest.FlagIndirect, 16*uint32(1+t.rnd.IntN(20))
	}
	return d
}

// turn makes a random change.
func (t *turncoat) turn() {
	at := t.data.Addr + uint64(t.rnd.IntN(64))*block
	switch t.rnd.IntN(4) {
	case 0:
		t.r.SetDesc(uint16(t.rnd.IntN(t.cfg.size)), t.desc())
	case 1:
		t.r.Write(at, t.frame())
	case 2: // only the destination's last byte
		t.r.Write(at+uint64(t.hdrLen)+5, []byte{byte(t.rnd.IntN(2))})
	case 3:
		t.r.Write(at, t.desc().Append(nil))
	}
	// The driver offers as many chains as it may, whether or not any were returned.
	_, used := t.r.Used()
	if n := used + uint16(t.cfg.size); n != t.avail {
		t.avail = n
		t.r.SetAvailIdx(n)
		signal(t.r.kick)
	}
}

// A guest that changes its memory while the device reads it reaches only the destination that the
// switch has seen, and affects no other guest.
func TestTurncoat(t *testing.T) {
	const frames = 3000
	l := newLab(t)
	l.work(2)
	a := l.newGuest(guestConfig{memory: 4 << 20, eventfds: true, dry: true})
	b := l.newGuest(guestConfig{memory: 4 << 20, eventfds: true, dry: true})
	bad := l.newGuest(guestConfig{features: modern | netport.AllOffloads, offloads: netport.AllOffloads, eventfds: true})
	var (
		wg   sync.WaitGroup
		stop atomic.Bool
		got  [2]atomic.Uint64
	)
	t.Cleanup(func() { stop.Store(true); wg.Wait() }) // if the test fails: before memory is unmapped
	for i, r := range []*ring{bad.tx[0], bad.rx[0]} {
		tc := newTurncoat(bad, r, uint64(i))
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				tc.turn()
				if i%64 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	// The honest guests receive all frames, and send to each other and to the bad one.
	var sent [2]uint64
	for i, g := range []*guest{a, b} {
		wg.Go(func() {
			var seen uint64
			for !stop.Load() && !t.Failed() {
				g.stock()
				g.reclaim()
				for _, to := range []*guest{l.guests[1-i], bad} {
					if tx := g.tx[0]; len(tx.bufs) < 20 {
						sent[i]++
						f := sealed(g.n, to.n, 26+int(sent[i]*97%3000), sent[i])
						tx.offer(g, false, tx.cut(slices.Concat(g.header(), f)), nil)
						tx.publish()
					}
				}
				for range 64 {
					f, ok := g.receive(g.rx[0])
					if !ok {
						break
					}
					if vswitch.MAC(f.frame[:6]) != vswitchtest.Station(g.n) {
						t.Errorf("guest %d got a frame to %x", g.n, f.frame[:6])
					}
					if !bytes.Equal(f.header[:10], make([]byte, 10)) || len(f.frame) > vswitch.MaxFrameLen {
						t.Errorf("guest %d got header %x before %d bytes", g.n, f.header, len(f.frame))
					}
					if vswitch.MAC(f.frame[6:12]) == vswitchtest.Station(1-i) && f.frame[12] == 0x88 {
						from, seq := unseal(t, g.n, f.frame)
						if seq <= seen {
							t.Errorf("guest %d got frame %d of guest %d after %d", g.n, seq, from, seen)
						}
						seen = seq
						continue
					}
					got[i].Add(1)
				}
				runtime.Gosched()
			}
		})
	}
	until(t, "frames pass", func() bool {
		return got[0].Load() > frames && got[1].Load() > frames && bad.counters.TxFrames.Load() > frames || t.Failed()
	})
	stop.Store(true)
	wg.Wait()
	until(t, "chains are returned", func() bool { a.reclaim(); b.reclaim(); return len(a.tx[0].bufs)+len(b.tx[0].bufs) == 0 })
	if d := bad.counters.DropsByName(); d["bad-chain"] == 0 || d["bad-offload"] == 0 {
		t.Errorf("not hostile enough: %v", d)
	}
}
