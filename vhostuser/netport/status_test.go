package netport_test

import (
	"errors"
	"testing"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

// Inspecting a ring whose memory has vanished ends its guest's session, and does not
// affect the caller.
func TestStatusOfVanishedMemory(t *testing.T) {
	l := newLab(t) // nothing else touches the rings
	a := l.connect(guestConfig{})
	if st := a.port.Status(); !st.Connected || len(st.Rings) != 2 || !st.Rings[1].Inspected {
		t.Fatalf("status is %+v", st)
	}
	if err := a.front.Memory[0].Truncate(0); err != nil {
		t.Fatal(err)
	}
	if frames, buffers := a.port.Backlog(); frames != 0 || buffers != 0 {
		t.Errorf("backlog of %d frames and %d buffers", frames, buffers)
	}
	st := a.port.Status()
	if len(st.Rings) != 2 || st.Rings[0].Inspected || st.Rings[1].Inspected || !st.Rings[0].Running {
		t.Errorf("rings are %+v", st.Rings)
	}
	if err := a.end(); !errors.Is(err, netport.ErrFault) {
		t.Errorf("session ended with %v", err)
	}
	if st := a.port.Status(); st.Connected || len(st.Rings) != 0 {
		t.Errorf("status after the end is %+v", st)
	}
}

// A started ring that has no memory is shown as the front-end has set it up.
func TestStatusOfSuspendedRing(t *testing.T) {
	l := newLab(t)
	a := l.connect(guestConfig{})
	before := a.port.Status()
	a.must(a.front.SetMemTable(a.data))
	st := a.port.Status()
	if len(st.Regions) != 1 || len(st.Rings) != 2 {
		t.Fatalf("status is %+v", st)
	}
	for i, r := range st.Rings {
		if r.Index != i || !r.Started || r.Running || !r.Enabled || r.Inspected || r.Size != before.Rings[i].Size || r.Desc != before.Rings[i].Desc {
			t.Errorf("ring is %+v", r)
		}
	}
}

// The status shows a ring's indices, the chains that wait in it, and errors.
func TestStatusOfRings(t *testing.T) {
	l := newLab(t)
	a, b := l.connect(guestConfig{features: modern}), l.connect(guestConfig{})
	b.post(b.rx[0], 3, 1000)
	for range 2 {
		a.send(a.frameTo(b, 60))
	}
	a.tx[0].offer(a, false, nil, []buf{a.tx[0].Alloc(100)}) // writable: invalid in a transmitq
	a.tx[0].publish()
	tx, rx := a.port.Status().Rings[1], b.port.Status().Rings[0]
	if tx.AvailIdx != 3 || tx.LastAvail != 0 || tx.Waiting != 3 || rx.Waiting != 3 || tx.BadChains != 0 {
		t.Errorf("transmitq %+v, receiveq %+v", tx, rx)
	}
	a.poll()
	tx, rx = a.port.Status().Rings[1], b.port.Status().Rings[0]
	if tx.LastAvail != 3 || tx.UsedIdx != 3 || tx.Base != 3 || tx.Waiting != 0 || tx.InFlight != 0 || tx.BadChains != 1 {
		t.Errorf("transmitq %+v", tx)
	}
	if rx.LastAvail != 2 || rx.UsedIdx != 2 || rx.Waiting != 1 || rx.Signals.When != virtqueue.Always || rx.Kicks != 0 ||
		rx.Inspection.Kicks.When != virtqueue.Never || !rx.Polling {
		t.Errorf("receiveq %+v", rx)
	}
	st := a.port.Status()
	if st.Offered&(1<<vhostuser.FeatureLogAll) == 0 || st.OfferedProtocol&(1<<vhostuser.ProtocolFeatureConfig) == 0 || st.Channel != vhostuser.ChannelNone {
		t.Errorf("status is %+v", st)
	}
}

// The backlog is what the guest has made available on all queues.
func TestBacklog(t *testing.T) {
	l := newLab(t)
	for _, features := range []uint64{modern, modern | 1<<virtqueue.FeatureRingPacked} {
		a, b := l.connect(guestConfig{features: features}), l.connect(guestConfig{features: features})
		check := func(g *guest, frames, buffers int) {
			t.Helper()
			if f, n := g.port.Backlog(); f != frames || n != buffers {
				t.Errorf("features %#x: %d frames wait and %d buffers are free, want %d and %d", features, f, n, frames, buffers)
			}
		}
		check(a, 0, 0)
		b.post(b.rx[0], 3, 1000)
		for range 2 {
			a.send(a.frameTo(b, 60))
		}
		check(a, 2, 0)
		check(b, 0, 3)
		a.poll()
		check(a, 0, 0)
		check(b, 0, 1)
	}
}
