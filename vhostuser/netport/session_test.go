package netport_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
)

// connect makes a guest whose port is served to a real front-end over a socket, by real workers.
// Its rings are in one memory, its buffers in another.
func (l *lab) connect(cfg guestConfig) *guest {
	l.Helper()
	g := l.newPort(cfg)
	g.dial()
	l.Cleanup(func() { g.hangUp(); g.port.Close() })
	return g
}

// dial connects a front-end to the port, and starts its rings.
func (g *guest) dial() {
	g.Helper()
	front, backend, err := vhostusertest.Pair()
	g.must(err)
	g.serve(front, backend)
	g.must(front.Handshake(g.cfg.features|1<<vhostuser.FeatureProtocolFeatures,
		1<<vhostuser.ProtocolFeatureMQ|1<<vhostuser.ProtocolFeatureReplyAck))
	g.furnish()
	for _, r := range front.Rings {
		g.must(front.StartRing(r))
	}
}

// serve makes the port serve a front-end.
func (g *guest) serve(front *vhostusertest.FrontEnd, backend *net.UnixConn) {
	g.front, g.ended = front, make(chan error, 1)
	go func() {
		err := vhostuser.Serve(context.Background(), backend, g.port, vhostuser.Options{WatchHugePages: true})
		g.port.SessionEnded()
		g.ended <- err
	}()
}

// furnish makes the memory and the rings of a front-end that has negotiated.
func (g *guest) furnish() {
	g.Helper()
	g.cfg.features = g.front.Features
	rings, err := g.front.NewMemory(2 * g.cfg.queues * (64*g.cfg.size + 8192))
	g.must(err)
	g.data, err = g.front.NewMemory(2 * g.cfg.queues * g.cfg.memory)
	g.must(err)
	g.must(g.front.ShareMemory())
	g.rx, g.tx = nil, nil
	for i := range 2 * g.cfg.queues {
		r, err := g.front.NewRing(rings, i, g.cfg.size, 0)
		g.must(err)
		r.Driver.Room(g.data.Region.GuestAddr+uint64(i*g.cfg.memory), uint64(g.cfg.memory))
		drv := &ring{Driver: r.Driver, index: i, kick: r.KickFD, call: r.CallFD, bufs: make(map[uint16][]buf)}
		if i%2 == 0 {
			g.rx = append(g.rx, drv)
		} else {
			g.tx = append(g.tx, drv)
		}
	}
}

func (g *guest) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// hangUp ends the front-end, and waits until its port is ready for the next one.
func (g *guest) hangUp() error {
	g.front.Close()
	return g.end()
}

// end waits for the session's end.
func (g *guest) end() error {
	g.Helper()
	select {
	case err := <-g.ended:
		g.ended <- err
		return err
	case <-time.After(30 * time.Second):
		g.Fatal("the session does not end")
		return nil
	}
}

// awaits waits for a frame on the guest's first queue, and compares it.
func (g *guest) awaits(frame []byte) {
	g.Helper()
	var f received
	until(g, "a frame arrives", func() (ok bool) { f, ok = g.receive(g.rx[0]); return ok })
	g.same(f, frame)
}

// A ring whose driver breaks the rules ends its session, with the reason, and is not
// processed any more.
func TestAvailIndexTooFarAhead(t *testing.T) {
	for _, index := range []int{0, 1} {
		l := newLab(t)
		l.work(1)
		a := l.connect(guestConfig{})
		b := l.connect(guestConfig{})
		bad := a.rx[0]
		if index == 1 {
			bad = a.tx[0]
		}
		bad.SetAvailIdx(uint16(a.cfg.size + 1))
		signal(bad.kick)
		if index == 0 {
			b.send(b.frameTo(a, 60))
		}
		if err := a.end(); !errors.Is(err, virtqueue.ErrAvailIndex) {
			t.Errorf("ring %d: session ended with %v", index, err)
		}
		if _, idx := bad.Used(); idx != 0 {
			t.Errorf("ring %d: used index is %d", index, idx)
		}
		a.front.Close()
		// The port works again.
		a.dial()
		a.post(a.rx[0], 1, 300)
		frame := b.frameTo(a, 100)
		b.send(frame)
		a.awaits(frame)
	}
}
