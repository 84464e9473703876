//go:build e2e

package e2e

import (
	"bytes"
	"testing"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// A rawGuest is a front-end that sends any frames one at a time, and keeps what it is sent.
type rawGuest struct {
	t      *testing.T
	rx, tx *vhostusertest.Ring
	rxBufs map[uint16]virtqueuetest.Buf // by the head of their chain
	txBuf  virtqueuetest.Buf
}

const (
	rawRing      = 64
	rawBuf       = 2048
	rawHeaderLen = 12
)

// connectRaw connects a guest to a port that listens at socket.
func connectRaw(t *testing.T, socket string) *rawGuest {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fe, err := vhostusertest.Dial(socket)
	must(err)
	t.Cleanup(fe.Close)
	must(fe.Handshake(1<<virtqueue.FeatureVersion1|1<<vhostuser.FeatureProtocolFeatures, 1<<vhostuser.ProtocolFeatureReplyAck))
	mem, err := fe.NewMemory(1 << 20)
	must(err)
	must(fe.ShareMemory())
	g := &rawGuest{t: t, rxBufs: make(map[uint16]virtqueuetest.Buf)}
	g.rx, err = fe.NewRing(mem, 0, rawRing, rawRing*rawBuf)
	must(err)
	g.tx, err = fe.NewRing(mem, 1, rawRing, rawBuf)
	must(err)
	for range rawRing {
		b := g.rx.Driver.Alloc(rawBuf)
		head, err := g.rx.Driver.AddChain(nil, []virtqueuetest.Buf{b})
		must(err)
		g.rxBufs[head] = b
	}
	g.rx.Driver.Publish()
	g.txBuf = g.tx.Driver.Alloc(rawBuf)
	must(fe.StartRing(g.rx))
	must(fe.StartRing(g.tx))
	return g
}

// send sends a frame, and waits until the switch is done with it: then all guests that are sent the
// frame have it.
func (g *rawGuest) send(frame []byte) {
	g.t.Helper()
	drv := g.tx.Driver
	mem := drv.Bytes(g.txBuf)
	clear(mem[:rawHeaderLen])
	n := rawHeaderLen + copy(mem[rawHeaderLen:], frame)
	if _, err := drv.AddChain([]virtqueuetest.Buf{{Addr: g.txBuf.Addr, Len: uint32(n)}}, nil); err != nil {
		g.t.Fatal(err)
	}
	drv.Publish()
	if err := g.tx.Kick(); err != nil {
		g.t.Fatal(err)
	}
	for {
		if head, _, ok := drv.PollUsed(); ok {
			drv.Release(head)
			return
		}
		if err := g.tx.WaitCall(); err != nil {
			g.t.Fatal(err)
		}
	}
}

// take returns the frames that have come since the last call.
func (g *rawGuest) take() (frames [][]byte) {
	g.t.Helper()
	drv := g.rx.Driver
	for {
		head, n, ok := drv.PollUsed()
		if !ok {
			break
		}
		frames = append(frames, bytes.Clone(drv.Bytes(g.rxBufs[head])[rawHeaderLen:n]))
		drv.Offer(head)
	}
	if len(frames) > 0 && drv.Publish() {
		if err := g.rx.Kick(); err != nil {
			g.t.Fatal(err)
		}
	}
	return frames
}
