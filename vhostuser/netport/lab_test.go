package netport_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Feature bits of virtio 1.2, sections 5.1.3 and 6.
const (
	csum      = 1 << 0
	guestCsum = 1 << 1
	guestTSO4 = 1 << 7
	hostTSO4  = 1 << 11
	mrgRxbuf  = 1 << 15
	mq        = 1 << 22
	indirect  = 1 << virtqueue.FeatureIndirectDesc
	eventIdx  = 1 << virtqueue.FeatureEventIdx
	version1  = 1 << virtqueue.FeatureVersion1

	modern = version1 | mrgRxbuf | indirect
)

type buf = virtqueuetest.Buf

// A lab is a switch with guests, whose drivers are played by the test. There are no sockets; the
// test does a worker's job by guest.poll, or pool does.
type lab struct {
	testing.TB
	sw     *vswitch.Switch
	pool   pool
	hold   *netport.HoldMemory
	guests []*guest
}

// A pool receives the ports' sources: it is the test itself, or real workers.
type pool interface {
	Add(s worker.Source) error
	AddResident(port any, s worker.Source) (wake func(), err error)
	Remove(s worker.Source)
}

func newLab(tb testing.TB) *lab {
	sw := vswitch.New(vswitch.Config{})
	tb.Cleanup(sw.Close)
	return &lab{TB: tb, sw: sw, hold: netport.NewHoldMemory(64 << 20)}
}

// guestConfig describes a guest. The zero value is a modern guest with one queue pair.
type guestConfig struct {
	mtu      int                // offered
	mac      vswitch.MAC        // offered; zero: none
	features uint64             // 0: modern
	queues   int                // queue pairs; 0: 1
	size     int                // of each ring; 0: 256
	memory   int                // bytes for the buffers of each ring; 0: 1 MiB
	parked   bool               // its rings are not started
	disabled bool               // its rings are started disabled
	eventfds bool               // it has kick and call eventfds
	offloads uint64             // Config.Offloads
	queueLen int                // Config.QueueLen; the guest gets eventfds
	dry      bool               // it gets no flooded frames
	fault    func(addr uintptr) // Config.ForeignFault; nil: lab.foreignFault
}

// A guest is a port with a driver for each of its rings.
type guest struct {
	*lab
	n        int
	cfg      guestConfig
	port     *netport.Port
	counters *vswitch.Counters
	hdrLen   int
	rx, tx   []*ring

	// Of a guest without a session.
	free   uint64 // first user address that no ring uses
	region virtqueue.Region

	// Of a guest with a session.
	front *vhostusertest.FrontEnd
	data  *vhostusertest.Memory // of the buffers
	ended chan error

	mu        sync.Mutex
	sources   []worker.Source
	residents []worker.Source
	woken     int // number of times that residents were to be woken
}

// A ring is both ends of a virtqueue.
type ring struct {
	*virtqueuetest.Driver
	index int
	q     *virtqueue.Queue
	kick  int
	call  int
	bufs  map[uint16][]buf // by head: buffers of the chains that the device holds
}

// newGuest makes a port whose guest has the address vswitchtest.Station(n), where n is the guest's
// index in l.guests.
func (l *lab) newGuest(cfg guestConfig) *guest {
	l.Helper()
	g := l.newPort(cfg)
	l.Cleanup(func() { unix.Munmap(g.region.Mem) })
	l.Cleanup(g.close)
	cfg = g.cfg
	g.share(2*cfg.queues*(cfg.memory+64*cfg.size+8192) + 4096)
	g.port.FeaturesSet(cfg.features)
	for i := range cfg.queues {
		g.rx = append(g.rx, g.newRing(2*i))
		g.tx = append(g.tx, g.newRing(2*i+1))
	}
	if !cfg.parked {
		for i := range cfg.queues {
			g.run(g.rx[i])
			g.run(g.tx[i])
		}
	}
	return g
}

// newPort makes a port without a guest.
func (l *lab) newPort(cfg guestConfig) *guest {
	l.Helper()
	if cfg.features == 0 {
		cfg.features = modern
	}
	cfg.queues = max(cfg.queues, 1)
	if cfg.size == 0 {
		cfg.size = 256
	}
	if cfg.memory == 0 {
		cfg.memory = 1 << 20
	}
	g := &guest{lab: l, n: len(l.guests), cfg: cfg, counters: &vswitch.Counters{}, hdrLen: 10}
	if cfg.features&(mrgRxbuf|version1) != 0 {
		g.hdrLen = 12
	}
	g.cfg.eventfds = cfg.eventfds || cfg.queueLen > 0
	pc := vswitch.DefaultPortConfig(fmt.Sprintf("vm%d", g.n))
	pc.Counters = g.counters
	if cfg.dry {
		pc.Flood, pc.McastFlood, pc.BcastFlood = false, false, false
	}
	pc.MACs = []vswitch.MAC{vswitchtest.Station(g.n)}
	fault := cfg.fault
	if fault == nil {
		fault = l.foreignFault
	}
	var err error
	g.port, err = netport.New(netport.Config{
		Queues: cfg.queues, MTU: cfg.mtu, MAC: cfg.mac, Switch: l.sw, Port: pc, Offloads: cfg.offloads,
		Logger:       hclog.NewNullLogger(),
		QueueLen:     cfg.queueLen,
		HoldMemory:   l.hold,
		Start:        g.start,
		Stop:         g.stop,
		ForeignFault: fault,

		StartResident: g.startResident,
	})
	if err != nil {
		l.Fatal(err)
	}
	l.guests = append(l.guests, g)
	return g
}

// foreignFault handles a fault as the daemon does.
func (l *lab) foreignFault(addr uintptr) {
	for _, g := range l.guests {
		if g.port.HandleFault(addr) {
			return
		}
	}
	l.Errorf("fault at %#x outside all guests' memory", addr)
}

// share makes the guest's memory, a mapped memfd.
func (g *guest) share(size int) {
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		g.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		g.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		g.Fatal(err)
	}
	g.region = virtqueue.Region{
		GuestAddr: 0x1_0000_0000 * uint64(g.n+1),
		UserAddr:  0x7000_0000_0000 + 0x1_0000_0000*uint64(g.n),
		Mem:       mem,
	}
	g.free = g.region.UserAddr
}

func (g *guest) newRing(index int) *ring {
	cfg, end := virtqueuetest.Layout(g.cfg.size, (g.free+4095)&^4095)
	cfg.Features = g.cfg.features
	drv, err := virtqueuetest.New([]virtqueue.Region{g.region}, cfg)
	if err != nil {
		g.Fatal(err)
	}
	drv.Room(end-g.region.UserAddr+g.region.GuestAddr, uint64(g.cfg.memory))
	g.free = end + uint64(g.cfg.memory)
	r := &ring{Driver: drv, index: index, kick: -1, call: -1, bufs: make(map[uint16][]buf)}
	if g.cfg.eventfds {
		r.kick, r.call = newEventfd(g), newEventfd(g)
	}
	return r
}

func newEventfd(tb testing.TB) int {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	return fd
}

// counted returns an eventfd's counter, and resets it.
func counted(fd int) uint64 {
	var b [8]byte
	if n, _ := unix.Read(fd, b[:]); n != 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b[:])
}

// publish makes the offered chains visible to the device, and kicks the device if it asks for that.
func (r *ring) publish() {
	if r.Publish() && r.kick >= 0 {
		signal(r.kick)
	}
}

func signal(fd int) { unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// run starts a ring, at the index at which it was stopped.
func (g *guest) run(r *ring) {
	g.Helper()
	cfg := r.Config()
	if r.q != nil {
		cfg.Base = r.q.Base()
	}
	q, err := virtqueue.New(r.Memory(), cfg)
	if err != nil {
		g.Fatal(err)
	}
	q.SetCall(r.call)
	r.q = q
	if err := g.port.RingStarted(vhostuser.Ring{Index: r.index, Enabled: !g.cfg.disabled, Queue: q, Kick: r.kick}); err != nil {
		g.Fatal(err)
	}
}

func (g *guest) close() {
	for i := range g.rx {
		g.port.RingStopped(g.rx[i].index)
		g.port.RingStopped(g.tx[i].index)
	}
	g.port.SessionEnded()
	g.port.Close()
}

func (g *guest) start(s worker.Source) error {
	if g.lab.pool != nil {
		return g.lab.pool.Add(s)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sources = append(g.sources, s)
	return nil
}

func (g *guest) startResident(s worker.Source) (wake func(), err error) {
	if g.lab.pool != nil {
		return g.lab.pool.AddResident(g, s)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.residents = append(g.residents, s)
	return func() { g.woken++ }, nil
}

func (g *guest) stop(s worker.Source) {
	if g.lab.pool != nil {
		g.lab.pool.Remove(s)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.residents = slices.DeleteFunc(g.residents, func(o worker.Source) bool { return o == s })
	g.sources = slices.DeleteFunc(g.sources, func(o worker.Source) bool { return o == s })
}

// transmitting returns the running transmitqs.
func (g *guest) transmitting() []worker.Source {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.sources)
}

// poll polls the guest's transmitqs until there is no more work, and returns the work of
// the first round.
func (g *guest) poll() (n int) {
	sources := g.transmitting()
	for first := true; ; first = false {
		k := 0
		for _, s := range sources {
			k += s.Poll()
		}
		if first {
			n = k
		}
		if k == 0 {
			return n
		}
	}
}

// cut allocates buffers for data, divided into parts of the given sizes and a last part with the
// rest.
func (r *ring) cut(data []byte, sizes ...int) []buf {
	var bufs []buf
	for i := 0; len(data) > 0; i++ {
		n := len(data)
		if i < len(sizes) {
			n = min(n, sizes[i])
		}
		b := r.Alloc(n)
		r.Write(b.Addr, data[:n])
		bufs = append(bufs, b)
		data = data[n:]
	}
	return bufs
}

// offer makes a chain available. The device sees it after Publish.
func (r *ring) offer(l testing.TB, table bool, readable, writable []buf) uint16 {
	l.Helper()
	add := r.AddChain
	if table {
		add = r.AddIndirect
	}
	head, err := add(readable, writable)
	if err != nil {
		l.Fatal(err)
	}
	r.bufs[head] = append(slices.Clone(readable), writable...)
	return head
}

// header returns a virtio-net header of the guest's length that asks for nothing.
func (g *guest) header() []byte { return make([]byte, g.hdrLen) }

// send offers a frame to the device, in pieces of the given sizes, and publishes it.
func (g *guest) send(frame []byte, sizes ...int) {
	g.Helper()
	r := g.tx[0]
	r.offer(g, false, r.cut(slices.Concat(g.header(), frame), sizes...), nil)
	r.publish()
}

// reclaim takes back the chains of transmitqs that the device has used, in order, and
// returns their number.
func (g *guest) reclaim() (n int) {
	g.Helper()
	for _, r := range g.tx {
		for {
			head, written, ok := r.PollUsed()
			if !ok {
				break
			}
			if written != 0 {
				g.Fatalf("device wrote %d bytes to a transmitq's chain", written)
			}
			r.reclaim(g, head)
			n++
		}
	}
	return n
}

// reclaim frees a used chain. It checks that the device held the chain, so that a chain that is
// completed twice is detected.
func (r *ring) reclaim(l testing.TB, head uint16) []buf {
	l.Helper()
	bufs, ok := r.bufs[head]
	if !ok {
		l.Fatalf("ring %d: the device returned chain %d, which it did not hold", r.index, head)
	}
	delete(r.bufs, head)
	r.Release(head)
	r.FreeBuf(bufs...)
	return bufs
}

// post offers n receive chains, each of buffers of the given sizes.
func (g *guest) post(r *ring, n int, sizes ...int) {
	g.Helper()
	for range n {
		var bufs []buf
		for _, s := range sizes {
			bufs = append(bufs, r.Alloc(s))
		}
		r.offer(g, len(bufs) > 1 && g.cfg.features&indirect != 0, nil, bufs)
	}
	r.Publish()
}

// A received frame is a frame as the guest received it.
type received struct {
	header  []byte
	frame   []byte
	buffers int
}

// receive takes the next frame from a receiveq, and checks the specification's rules for
// num_buffers and the used lengths (5.1.6.4).
func (g *guest) receive(r *ring) (f received, ok bool) {
	g.Helper()
	var data []byte
	num := 1
	for f.buffers < num {
		head, n, ok := r.PollUsed()
		if !ok {
			if f.buffers > 0 {
				g.Fatalf("guest %d: frame of %d buffers ends after %d", g.n, num, f.buffers)
			}
			return f, false
		}
		part := r.readUsed(g, head, int(n))
		if n == 0 {
			if f.buffers > 0 {
				g.Fatalf("guest %d: an invalid chain within a frame", g.n)
			}
			continue
		}
		data = append(data, part...)
		f.buffers++
		switch {
		case g.hdrLen == 10:
		case len(data) >= 12:
			num = int(binary.LittleEndian.Uint16(data[10:]))
		default:
			num = f.buffers + 1 // the header continues in the next one
		}
		if num < f.buffers || num > 1 && g.cfg.features&mrgRxbuf == 0 {
			g.Fatalf("guest %d: num_buffers is %d", g.n, num)
		}
	}
	f.header, f.frame = data[:g.hdrLen], data[g.hdrLen:]
	return f, true
}

// readUsed copies the first n bytes of a used chain and frees it.
func (r *ring) readUsed(l testing.TB, head uint16, n int) (data []byte) {
	l.Helper()
	room := 0
	for _, b := range r.bufs[head] {
		room += int(b.Len)
		if k := min(int(b.Len), n-len(data)); k > 0 {
			data = append(data, r.Read(buf{Addr: b.Addr, Len: uint32(k)})...)
		}
	}
	if n > room {
		l.Fatalf("ring %d: %d bytes used of a chain of %d", r.index, n, room)
	}
	r.reclaim(l, head)
	return data
}

// gets receives a frame on the guest's first queue and compares it.
func (g *guest) gets(frame []byte) received {
	g.Helper()
	f, ok := g.receive(g.rx[0])
	if !ok {
		g.Fatalf("guest %d: no frame; drops %v", g.n, g.counters.DropsByName())
	}
	g.same(f, frame)
	return f
}

// same compares what was received with what was sent.
func (g *guest) same(f received, frame []byte) {
	g.Helper()
	if !bytes.Equal(f.frame, frame) {
		g.Fatalf("guest %d: got %d bytes, want %d\ngot  %s\nwant %s", g.n, len(f.frame), len(frame), dump(f.frame), dump(frame))
	}
}

// getsNothing checks that no frame has been received.
func (g *guest) getsNothing() {
	g.Helper()
	for _, r := range g.rx {
		if f, ok := g.receive(r); ok {
			g.Fatalf("guest %d: unexpected frame %s", g.n, dump(f.frame))
		}
	}
}

func dump(b []byte) string {
	if len(b) > 48 {
		return fmt.Sprintf("%x...", b[:48])
	}
	return fmt.Sprintf("%x", b)
}

// dropped checks the guest's drop counters, all of them.
func (g *guest) dropped(want map[vswitch.DropReason]uint64) {
	g.Helper()
	names := make(map[string]uint64)
	for r, n := range want {
		names[r.String()] = n
	}
	if got := g.counters.DropsByName(); fmt.Sprint(got) != fmt.Sprint(names) {
		g.Fatalf("guest %d: drops %v, want %v", g.n, got, names)
	}
}

// frameTo returns a frame of n bytes between guests, with a random payload.
func (g *guest) frameTo(to *guest, n int) []byte { return frameBetween(g.n, to.n, n) }

func frameBetween(from, to, n int) []byte {
	return fill(vswitchtest.Ether(vswitchtest.Station(to), vswitchtest.Station(from), make([]byte, n-14)))
}

// fill makes all bytes of a frame after its Ethernet header random.
func fill(frame []byte) []byte {
	for i := 14; i < len(frame); i++ {
		frame[i] = byte(rand.Uint32())
	}
	return frame
}
