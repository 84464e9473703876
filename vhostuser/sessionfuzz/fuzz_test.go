package sessionfuzz_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/vhostuser/sessionfuzz"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Feature bits of virtio 1.2, sections 5.1.3 and 6.
const (
	mrgRxbuf = 1 << 15
	indirect = 1 << virtqueue.FeatureIndirectDesc
	eventIdx = 1 << virtqueue.FeatureEventIdx
	version1 = 1 << virtqueue.FeatureVersion1
	packed   = 1 << virtqueue.FeatureRingPacked
	proto    = 1 << vhostuser.FeatureProtocolFeatures
	logAll   = 1 << vhostuser.FeatureLogAll
	replyAck = 1 << vhostuser.ProtocolFeatureReplyAck
	modern   = version1 | mrgRxbuf | indirect | eventIdx | proto
)

// FuzzDevice runs sessions of a network device with hostile front-ends, while two other guests
// exchange frames and send to the hostile one. The two must not be affected, and no resources of a
// session may be left behind.
func FuzzDevice(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	l := newLab(f)
	f.Fuzz(func(t *testing.T, acts []byte) {
		if len(acts) > 300 {
			return
		}
		fds, maps := vhostusertest.OpenFiles(t), vhostusertest.Mapped(t, "")
		l.attack(t, acts)
		l.exchange(t)
		if n := vhostusertest.OpenFiles(t); n != fds {
			t.Errorf("%d file descriptors are open after the session, %d before", n, fds)
		}
		if n := vhostusertest.Mapped(t, ""); n != maps {
			t.Errorf("%d mappings of guest memory after the session, %d before", n, maps)
		}
	})
}

// seeds start a receiveq and a transmitq, and continue in different ways.
func seeds() [][]byte {
	var all [][]byte
	for _, handshake := range []byte{1, 2, 5, 8, 9, 14} {
		start := []byte{sessionfuzz.Handshake, handshake, sessionfuzz.AddMemory, 0, sessionfuzz.AddMemory, 1}
		for vring := range byte(2) {
			start = append(start, sessionfuzz.Num, vring, sessionfuzz.Addr, vring, sessionfuzz.Call, vring, sessionfuzz.Kick, vring, sessionfuzz.Enable, vring)
		}
		for _, more := range [][]byte{
			{sessionfuzz.Buffers, 0x1c, sessionfuzz.Buffers, 0x30, sessionfuzz.Buffers, 0x01, sessionfuzz.Buffers, 0x25},
			{sessionfuzz.Buffers, 1, sessionfuzz.Truncate, 0, sessionfuzz.Buffers, 0x10, sessionfuzz.Buffers, 1},
			{sessionfuzz.LogBase, 0, sessionfuzz.LogAll, 1, sessionfuzz.LogRing, 0, sessionfuzz.Buffers, 0x1c, sessionfuzz.Buffers, 0x1c, sessionfuzz.Truncate, 0x80, sessionfuzz.Buffers, 0x1c},
			{sessionfuzz.Buffers, 0x50, sessionfuzz.Buffers, 0x10, sessionfuzz.RemMemory, 0, sessionfuzz.AddMemory, 0, sessionfuzz.Stop, 0, sessionfuzz.Inflight, 4, sessionfuzz.Stop, 1, sessionfuzz.Inflight, 4, sessionfuzz.Kick, 0, sessionfuzz.Buffers, 0x18},
			{sessionfuzz.Desc, 0, 0x80, 0, 200, 0, 0x82, 0, sessionfuzz.Desc, 4, 0x81, 2, 100, 1, 0x82, 0, sessionfuzz.Buffers, 0x80, sessionfuzz.AvailIdx, 0x40, sessionfuzz.Reset, 0},
		} {
			all = append(all, append(slices.Clone(start), more...))
		}
	}
	return all
}

// A lab is a switch with two well-behaved guests.
type lab struct {
	sw   *vswitch.Switch
	pool *worker.Pool
	a, b *guest
	bad  *netport.Port
	seq  uint64
}

func newLab(tb testing.TB) *lab {
	pool, err := worker.New(worker.Config{Workers: 1})
	if err != nil {
		tb.Fatal(err)
	}
	l := &lab{sw: vswitch.New(vswitch.Config{}), pool: pool}
	tb.Cleanup(l.sw.Close)
	tb.Cleanup(pool.Close)
	l.a, l.b = l.newGuest(tb, 1), l.newGuest(tb, 2)
	return l
}

// newPort makes the n-th guest's port.
func (l *lab) newPort(tb testing.TB, n int) *netport.Port {
	pc := vswitch.DefaultPortConfig("vm" + string(rune('0'+n)))
	pc.MACs = []vswitch.MAC{vswitchtest.Station(n)}
	p, err := netport.New(netport.Config{
		Queues: 2, Switch: l.sw, Port: pc, Offloads: netport.AllOffloads,
		Logger: hclog.NewNullLogger(),
		Start:  func(s worker.Source) error { return l.pool.Add(s) },
		Stop:   func(s worker.Source) { l.pool.Remove(s) },
		ForeignFault: func(addr uintptr) {
			if l.a.port.HandleFault(addr) || l.b.port.HandleFault(addr) || l.bad.HandleFault(addr) {
				return
			}
			panic("fault outside all guests' memory")
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// everything is a network device that offers all protocol features, of which the session drops
// those that cannot be offered.
type everything struct{ *netport.Port }

func (d everything) ProtocolFeatures() uint64 { return ^uint64(0) }

// attack runs a session with a front-end that performs acts.
func (l *lab) attack(t *testing.T, acts []byte) {
	l.bad = l.newPort(t, 3)
	defer l.bad.Close()
	front, backend, err := vhostusertest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	// Some of the front-end's requests exceed its limit.
	pool := vhostuser.NewPool(vhostuser.Capacity{AddressSpace: 1 << 40, Mappings: 1000, FileDescriptors: 1000})
	account := pool.Open(vhostuser.Limits{Memory: 300 << 10, MemoryName: "limit", Vrings: 4})
	defer func() {
		if n := account.Use().Memory; n != 0 {
			t.Errorf("%d bytes are in use after the session", n)
		}
		account.Close()
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = vhostuser.Serve(context.Background(), backend, everything{l.bad}, vhostuser.Options{Account: account})
		l.bad.SessionEnded()
	}()
	features, err := front.GetU64(vhostuser.GetFeatures)
	if err != nil {
		t.Fatal(err)
	}
	protocol, err := front.GetU64(vhostuser.GetProtocolFeatures)
	if err != nil {
		t.Fatal(err)
	}
	const memSlots = 1 << vhostuser.ProtocolFeatureConfigureMemSlots
	a, err := sessionfuzz.New(front, acts, sessionfuzz.Config{
		Features:         []uint64{modern & features, (modern | packed) & features, version1 | proto, 0, features &^ logAll},
		ProtocolFeatures: []uint64{0, replyAck | memSlots, protocol},
	})
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		l.traffic(stop)
	}()
	a.Run()
	_ = front.CloseWrite()
	select {
	case <-ended:
	case <-time.After(vhostusertest.Timeout):
		t.Fatal("the session does not end")
	}
	a.Close()
	close(stop)
	<-stopped
}

// A guest is well-behaved. It has one queue pair.
type guest struct {
	port   *netport.Port
	front  *vhostusertest.FrontEnd
	rx, tx *vhostusertest.Ring
	sent   map[uint16]virtqueuetest.Buf // by head: chains of the transmitq that the device holds
	posted map[uint16]virtqueuetest.Buf // likewise for the receiveq
	mac    vswitch.MAC
}

const frameRoom = 2048

// newGuest makes the n-th guest, whose session lasts until the end.
func (l *lab) newGuest(tb testing.TB, n int) *guest {
	must := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	front, backend, err := vhostusertest.Pair()
	must(err)
	g := &guest{
		port: l.newPort(tb, n), front: front, mac: vswitchtest.Station(n),
		sent: map[uint16]virtqueuetest.Buf{}, posted: map[uint16]virtqueuetest.Buf{},
	}
	ended := make(chan error, 1)
	go func() { ended <- vhostuser.Serve(context.Background(), backend, g.port, vhostuser.Options{}) }()
	tb.Cleanup(func() {
		front.Close()
		<-ended
		g.port.SessionEnded()
		g.port.Close()
	})
	must(front.Handshake(modern, replyAck))
	mem, err := front.NewMemory(2 << 20)
	must(err)
	g.rx, err = front.NewRing(mem, 0, 256, 256*frameRoom)
	must(err)
	g.tx, err = front.NewRing(mem, 1, 256, 256*frameRoom)
	must(err)
	must(front.ShareMemory())
	must(front.StartRing(g.rx))
	must(front.StartRing(g.tx))
	for range 128 {
		g.post()
	}
	return g
}

// post makes a receive buffer available to the device.
func (g *guest) post() {
	buf := g.rx.Driver.Alloc(frameRoom)
	head, err := g.rx.Driver.AddChain(nil, []virtqueuetest.Buf{buf})
	if err != nil {
		panic(err) // the ring has room for all buffers
	}
	g.posted[head] = buf
	g.rx.Driver.Publish()
}

// send sends a frame if there is room for it.
func (g *guest) send(dst vswitch.MAC, payload []byte) {
	for head, _, ok := g.tx.Driver.PollUsed(); ok; head, _, ok = g.tx.Driver.PollUsed() {
		g.tx.Driver.FreeBuf(g.sent[head])
		delete(g.sent, head)
		g.tx.Driver.Release(head)
	}
	if len(g.sent) >= 64 {
		return
	}
	data := append(make([]byte, 12), vswitchtest.Ether(dst, g.mac, payload)...)
	buf := g.tx.Driver.Alloc(frameRoom)
	g.tx.Driver.Write(buf.Addr, data)
	head, err := g.tx.Driver.AddChain([]virtqueuetest.Buf{{Addr: buf.Addr, Len: uint32(len(data))}}, nil)
	if err != nil {
		panic(err)
	}
	g.sent[head] = buf
	g.tx.Driver.Publish()
	_ = g.tx.Kick()
}

// receive returns the payloads of the received frames.
func (g *guest) receive() (payloads [][]byte) {
	for {
		head, n, ok := g.rx.Driver.PollUsed()
		if !ok {
			return payloads
		}
		buf := g.posted[head]
		delete(g.posted, head)
		if data := g.rx.Driver.Read(virtqueuetest.Buf{Addr: buf.Addr, Len: min(n, frameRoom)}); len(data) > 12+14 {
			payloads = append(payloads, data[12+14:])
		}
		g.rx.Driver.Release(head)
		g.rx.Driver.FreeBuf(buf)
		g.post()
	}
}

// traffic makes the guests send to the hostile one, to each other and to the broadcast address.
func (l *lab) traffic(stop <-chan struct{}) {
	payload := make([]byte, 300)
	for {
		select {
		case <-stop:
			return
		default:
		}
		for _, dst := range []vswitch.MAC{vswitchtest.Station(3), vswitchtest.Broadcast, l.b.mac} {
			l.a.send(dst, payload)
		}
		l.b.send(vswitchtest.Station(3), payload[:1])
		l.a.receive()
		l.b.receive()
		time.Sleep(20 * time.Microsecond)
	}
}

// exchange passes a frame from each of the two well-behaved guests to the other.
func (l *lab) exchange(t *testing.T) {
	for _, pair := range [][2]*guest{{l.a, l.b}, {l.b, l.a}} {
		l.seq++
		want := binary.BigEndian.AppendUint64([]byte("sequence number"), l.seq)
		pair[0].send(pair[1].mac, want)
		for deadline := time.Now().Add(vhostusertest.Timeout); ; {
			if slices.ContainsFunc(pair[1].receive(), func(p []byte) bool { return bytes.HasPrefix(p, want) }) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("frames between the other guests do not pass any more")
			}
			time.Sleep(10 * time.Microsecond)
			pair[0].send(pair[1].mac, want)
		}
	}
}
