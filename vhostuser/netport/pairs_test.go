package netport_test

import (
	"encoding/binary"
	"slices"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
)

// The largest number of queue pairs, over a socket and with real workers: each transmitq sends, and
// each receiveq gets its share of the flows.
func TestAllQueuePairs(t *testing.T) {
	const perQueue = 16
	l := newLab(t)
	l.work(2)
	cfg := guestConfig{queues: netport.MaxQueues, size: 64, memory: 64 << 10, features: modern | mq}
	a, b := l.connect(cfg), l.connect(cfg)
	for _, r := range b.rx {
		b.post(r, 2*perQueue, 300)
	}
	if n := b.port.Receiving(); n != netport.MaxQueues {
		t.Fatalf("%d queues receive", n)
	}
	sent := make(map[string]bool)
	for i, r := range a.tx {
		for k := range perQueue {
			f := append(a.frameTo(b, 14)[:12], ipv4(false, 6, 0)...)
			binary.BigEndian.PutUint16(f[34:], uint16(i*perQueue+k)) // source port: another flow
			f = append(f, make([]byte, 30)...)
			r.offer(a, false, r.cut(slices.Concat(a.header(), f)), nil)
			sent[string(f)] = true
		}
		r.publish()
	}
	got := make([]int, len(b.rx))
	until(t, "all frames arrive", func() bool {
		for i, r := range b.rx {
			for {
				f, ok := b.receive(r)
				if !ok {
					break
				}
				if !sent[string(f.frame)] {
					t.Fatalf("queue %d: a frame that was not sent, or was received twice: %s", i, dump(f.frame))
				}
				delete(sent, string(f.frame))
				got[i]++
			}
		}
		return len(sent) == 0
	})
	for i, n := range got {
		if n == 0 {
			t.Errorf("queue %d got nothing: %v", i, got)
		}
	}
	until(t, "all frames are given back", func() bool {
		a.reclaim()
		return !slices.ContainsFunc(a.tx, func(r *ring) bool { return len(r.bufs) > 0 })
	})
	b.dropped(map[vswitch.DropReason]uint64{})

	// Only the last pair.
	for _, r := range b.front.Rings[:2*netport.MaxQueues-2] {
		b.must(b.front.EnableRing(r, false))
	}
	frame := a.frameTo(b, 100)
	a.send(frame)
	until(t, "a frame arrives on the last queue", func() bool {
		f, ok := b.receive(b.rx[netport.MaxQueues-1])
		if ok {
			b.same(f, frame)
		}
		return ok
	})
	// There is no further pair.
	b.must(b.front.Send(vhostuser.SetVringNum, 0, vhostuser.VringState{Index: 2 * netport.MaxQueues, Num: 64}.AppendTo(nil)))
	b.must(b.front.WaitClosed())
}
