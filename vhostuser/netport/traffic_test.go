package netport_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vswitchd/internal/worker"
	"vswitchd/switch/vswitchtest"
)

// sums adds up the counters of all guests.
type sums struct {
	rxFrames, rxBytes, txFrames, txBytes uint64
	drops                                uint64 // frames that were received and dropped
	discarded                            uint64 // chains that did not contain a frame
}

func (l *lab) sums() (s sums) {
	for _, g := range l.guests {
		s.rxFrames += g.counters.RxFrames.Load()
		s.rxBytes += g.counters.RxBytes.Load()
		s.txFrames += g.counters.TxFrames.Load()
		s.txBytes += g.counters.TxBytes.Load()
		for name, n := range g.counters.DropsByName() {
			switch name {
			case "bad-chain", "too-short", "too-long", "queue-disabled":
				s.discarded += n
			default:
				s.drops += n
			}
		}
	}
	return s
}

// sealed returns a frame of n bytes, at least 26, whose content follows from its addresses, length
// and sequence number, so that corruption is detected.
func sealed(from, to, n int, seq uint64) []byte {
	f := vswitchtest.Ether(vswitchtest.Station(to), vswitchtest.Station(from), nil)
	f = binary.BigEndian.AppendUint64(f, seq)
	f = binary.BigEndian.AppendUint32(f, uint32(n))
	for i := len(f); i < n; i++ {
		f = append(f, byte(seq)+byte(i))
	}
	return f
}

// unseal checks a sealed frame that guest to has received, and returns its sender and its number.
func unseal(tb testing.TB, to int, f []byte) (from int, seq uint64) {
	from = int(binary.BigEndian.Uint32(f[8:]))
	seq = binary.BigEndian.Uint64(f[14:])
	n := int(binary.BigEndian.Uint32(f[22:]))
	if n != len(f) || !slices.Equal(f, sealed(from, to, n, seq)) {
		tb.Errorf("guest %d received frame %d of guest %d (%d bytes) corrupted: %s", to, seq, from, n, dump(f))
	}
	return from, seq
}

// In any traffic, the frames and bytes received from guests equal those delivered to guests
// plus those dropped.
func TestEveryFrameIsAccountedFor(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		l := newLab(t)
		for i := range 4 {
			l.newGuest(guestConfig{
				features: []uint64{modern, modern | eventIdx, indirect, version1 | indirect}[i],
				size:     []int{64, 256, 128, 32}[i],
				memory:   4 << 20,
				queues:   1 + i%2,
			})
		}
		var (
			chains, frames, bytes uint64
			flooded               uint64
			got, gotBytes         uint64
			last                  [4][4]uint64
		)
		for seq := uint64(1); seq < 2000; seq++ {
			a := l.guests[rnd.IntN(4)]
			to := rnd.IntN(5) // guest 4 does not exist, so its frames are flooded
			switch rnd.IntN(4) {
			case 0:
				g := l.guests[rnd.IntN(4)]
				r := g.rx[rnd.IntN(len(g.rx))]
				if r.Free() < 8 {
					continue
				}
				if rnd.IntN(20) == 0 {
					r.offer(g, false, []buf{r.Alloc(100)}, nil) // an invalid one
				}
				g.post(r, 1+rnd.IntN(r.Free()/4), 1+rnd.IntN(5000), 1+rnd.IntN(5000))
			case 1:
				a.poll()
				a.reclaim()
				for _, g := range l.guests {
					for _, r := range g.rx {
						for f, ok := g.receive(r); ok; f, ok = g.receive(r) {
							got++
							gotBytes += uint64(len(f.frame))
							if to := int(binary.BigEndian.Uint32(f.frame[2:])); to < 4 {
								from, seq := unseal(t, g.n, f.frame)
								if seq <= last[from][g.n] && len(g.rx) == 1 && len(l.guests[from].tx) == 1 {
									t.Errorf("frame %d after %d", seq, last[from][g.n])
								}
								last[from][g.n] = seq
							}
						}
					}
				}
			default:
				r := a.tx[rnd.IntN(len(a.tx))]
				if r.Free() < 4 {
					continue
				}
				chains++
				n := 26 + rnd.IntN(200)
				switch rnd.IntN(10) {
				case 0:
					n += rnd.IntN(60000)
				case 1:
					r.offer(a, false, r.cut(make([]byte, 1+rnd.IntN(20))), nil) // not a frame
					r.Publish()
					continue
				}
				frames++
				bytes += uint64(n)
				if to == 4 {
					flooded++
				}
				f := sealed(a.n, to, n, seq)
				r.offer(a, rnd.IntN(2) == 0, r.cut(slices.Concat(a.header(), f), 1+rnd.IntN(300), 1+rnd.IntN(300)), nil)
				r.Publish()
			}
		}
		for _, g := range l.guests {
			g.poll()
			g.reclaim()
			for _, r := range g.tx {
				if len(r.bufs) != 0 {
					t.Errorf("the device still holds %d chains", len(r.bufs))
				}
			}
		}
		for _, g := range l.guests {
			for _, r := range g.rx {
				for f, ok := g.receive(r); ok; f, ok = g.receive(r) {
					got++
					gotBytes += uint64(len(f.frame))
				}
			}
		}
		s := l.sums()
		if s.rxFrames != frames || s.rxBytes != bytes || s.rxFrames+s.discarded != chains {
			t.Errorf("received %d frames, %d bytes, discarded %d; sent were %d, %d, of %d chains", s.rxFrames, s.rxBytes, s.discarded, frames, bytes, chains)
		}
		if s.txFrames != got || s.txBytes != gotBytes {
			t.Errorf("transmitted %d frames, %d bytes; guests received %d, %d", s.txFrames, s.txBytes, got, gotBytes)
		}
		// A frame to an unknown address is flooded: a copy for each of the other three.
		if s.rxFrames+2*flooded != s.txFrames+s.drops {
			t.Errorf("%d frames in, %d of them flooded, %d out and %d dropped", s.rxFrames, flooded, s.txFrames, s.drops)
		}
	}
}

// workers are real workers.
type workers struct{ *worker.Pool }

func (w workers) Add(s worker.Source) error { return w.Pool.Add(s) }
func (w workers) Remove(s worker.Source)    { w.Pool.Remove(s) }

// work gives the lab real workers, before it has guests.
func (l *lab) work(n int) {
	p, err := worker.New(worker.Config{Workers: n, Poll: 20 * time.Microsecond})
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(p.Close)
	l.pool = workers{p}
}

// until waits for a condition, and fails the test after a long time.
func until(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	for end := time.Now().Add(2 * time.Minute); !cond(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			tb.Fatalf("never happened: %s", what)
		}
	}
}

// drive is a guest that exchanges frames with guests 0 to others-1 until it is stopped, and all of
// its chains have been returned. It returns the numbers of frames sent and received.
func (g *guest) drive(others int, stop *atomic.Bool) (sent, got uint64) {
	last := make([]uint64, others)
	stock := func() {
		for _, r := range g.rx {
			for r.Free() >= 2 && len(r.bufs) < 100 {
				r.offer(g, false, nil, []buf{r.Alloc(700)})
			}
			r.publish()
		}
	}
	take := func() {
		for _, r := range g.rx {
			for f, ok := g.receive(r); ok; f, ok = g.receive(r) {
				from, seq := unseal(g, g.n, f.frame)
				if seq <= last[from] {
					g.Errorf("guest %d received frame %d of guest %d after %d", g.n, seq, from, last[from])
				}
				last[from] = seq
				got++
			}
		}
	}
	tx := g.tx[0]
	for !stop.Load() && !g.Failed() {
		stock()
		for range 1 + rand.IntN(32) {
			if len(tx.bufs) >= 100 {
				break
			}
			to := rand.IntN(others)
			if to == g.n {
				continue
			}
			sent++
			f := sealed(g.n, to, 26+rand.IntN(2000), sent)
			tx.offer(g, rand.IntN(2) == 0, tx.cut(slices.Concat(g.header(), f), 12, 128), nil)
		}
		tx.publish()
		g.reclaim()
		take()
		runtime.Gosched()
	}
	return sent, got
}

// settle receives the remaining frames when traffic has ended.
func (g *guest) settle() (got uint64) {
	for _, r := range g.rx {
		for _, ok := g.receive(r); ok; _, ok = g.receive(r) {
			got++
		}
	}
	return got
}

// Frames pass between guests while rings are stopped and started, enabled and disabled, and ports
// are quiesced: no frame gets stuck or corrupted, and all are accounted for.
func TestTrafficWhileRingsChange(t *testing.T) {
	l := newLab(t)
	l.work(2)
	const guests = 3
	for i := range guests {
		l.newGuest(guestConfig{
			features: []uint64{modern, modern | eventIdx, modern}[i],
			memory:   4 << 20, eventfds: true,
		})
	}
	var (
		stop      atomic.Bool
		wg        sync.WaitGroup
		sent, got atomic.Uint64
	)
	t.Cleanup(func() { stop.Store(true); wg.Wait() }) // if the test fails: before memory is unmapped
	for _, g := range l.guests {
		wg.Go(func() {
			n, m := g.drive(guests, &stop)
			sent.Add(n)
			got.Add(m)
		})
	}
	passed := func(n uint64) {
		t.Helper()
		was := l.sums().txFrames
		until(t, "frames pass", func() bool { return l.sums().txFrames >= was+n || t.Failed() })
	}
	// Each guest has one goroutine for its control path, like a session.
	var control sync.WaitGroup
	for _, g := range l.guests {
		control.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g.n), 7))
			for range 60 {
				switch rnd.IntN(4) {
				case 0:
					resume := g.port.Quiesce()
					runtime.Gosched()
					resume()
				case 1:
					for _, r := range []*ring{g.rx[0], g.tx[0]} {
						g.port.RingStopped(r.index)
						g.run(r)
					}
				case 2:
					i := rnd.IntN(2)
					g.port.RingEnabled(i, false)
					runtime.Gosched()
					g.port.RingEnabled(i, true)
				case 3:
					g.port.Rings()
					g.port.Notifications()
				}
				passed(20)
			}
		})
	}
	control.Wait()
	passed(100)
	stop.Store(true)
	wg.Wait()
	for _, g := range l.guests {
		until(t, "all chains are returned", func() bool { g.reclaim(); return len(g.tx[0].bufs) == 0 })
	}
	for _, g := range l.guests {
		resume := g.port.Quiesce() // the last batch is counted, too
		resume()
		got.Add(g.settle())
	}
	s := l.sums()
	if s.rxFrames+s.discarded != sent.Load() {
		t.Errorf("%d frames sent, %d received and %d discarded", sent.Load(), s.rxFrames, s.discarded)
	}
	if s.txFrames != got.Load() {
		t.Errorf("%d frames transmitted, guests received %d", s.txFrames, got.Load())
	}
	if s.rxFrames != s.txFrames+s.drops {
		t.Errorf("%d frames in, %d out and %d dropped", s.rxFrames, s.txFrames, s.drops)
	}
}
