package netport_test

import (
	"bytes"
	"runtime/debug"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
)

// A back-end that dies within a batch is simulated by one whose thread stops there for the rest of
// the test, having done all that it had done in the guest's memory and in the in-flight record. Its
// successor gets both.

// A death is where a thread stops. It is also a port to which frames are sent.
type death struct {
	once    sync.Once
	reached chan struct{} // closed when a thread has stopped
	over    chan struct{} // closed when the test has finished
}

func newDeath() *death {
	return &death{reached: make(chan struct{}), over: make(chan struct{})}
}

func (d *death) stop() {
	d.once.Do(func() { close(d.reached) })
	<-d.over
}

// Caps implements vswitch.Port.
func (d *death) Caps() vswitch.Caps { return vswitch.Caps{} }

// Transmit implements vswitch.Port.
func (d *death) Transmit(frames []*vswitch.Frame) int { d.stop(); return len(frames) }

// Stations that a guest exchanges frames with, besides its own, which is 0.
const (
	near = 1
	far  = 2
)

// A life is the life of a back-end: a port, to which a front-end with memory for descriptors in
// flight is connected, and a switch with two stations.
type life struct{ *guest }

const crashRingSize = 128

func newLife(t *testing.T, features uint64, fault func(uintptr), near, far vswitch.Port) life {
	l := newLab(t)
	g := l.newPort(guestConfig{features: features, size: crashRingSize, fault: fault})
	for i, p := range []vswitch.Port{near, far} {
		pc := vswitch.DefaultPortConfig([]string{"near", "far"}[i])
		pc.MACs = []vswitch.MAC{vswitchtest.Station(1 + i)}
		a, err := l.sw.Attach(pc, p)
		g.must(err)
		a.SetUp(true)
	}
	t.Cleanup(func() {
		g.hangUp()
		g.port.Close()
	})
	return life{g}
}

// begin connects a front-end, makes its rings, and returns the memory for descriptors in flight.
func (l life) begin() *vhostusertest.Inflight {
	l.Helper()
	front, backend, err := vhostusertest.Pair()
	l.must(err)
	l.serve(front, backend)
	l.negotiate()
	in, err := front.GetInflight(2, crashRingSize)
	l.must(err)
	l.Cleanup(in.Close)
	l.furnish()
	l.must(front.SetInflight(in))
	for _, r := range front.Rings {
		l.must(front.StartRing(r))
	}
	return in
}

// inherit connects the front-end of another life, with all its state, to this one. Like DPDK's, the
// front-end does not know a base.
func (l life) inherit(dead life, in *vhostusertest.Inflight) {
	l.Helper()
	front, backend, err := dead.front.Reconnect()
	l.must(err)
	l.serve(front, backend)
	l.negotiate()
	l.must(front.ShareMemory())
	l.must(front.SetInflight(in))
	l.cfg, l.rx, l.tx, l.data = dead.cfg, dead.rx, dead.tx, dead.data
	for _, r := range front.Rings {
		l.must(front.StartRingAt(r, 0))
	}
}

func (l life) negotiate() {
	l.Helper()
	l.must(l.front.Handshake(l.cfg.features|1<<vhostuser.FeatureProtocolFeatures,
		1<<vhostuser.ProtocolFeatureReplyAck|1<<vhostuser.ProtocolFeatureInflightShmFD))
	if !l.front.Has(vhostuser.ProtocolFeatureInflightShmFD) {
		l.Fatal("INFLIGHT_SHMFD is not offered")
	}
}

// inflight expects the given numbers of chains of the receiveq and the transmitq to be
// marked in the record.
func (l life) inflight(in *vhostusertest.Inflight, rx, tx int) {
	l.Helper()
	// A record has a header, followed by the same number of bytes for each descriptor.
	packed, unit := false, 16
	if l.cfg.features&(1<<virtqueue.FeatureRingPacked) != 0 {
		packed, unit = true, 32
	}
	each := virtqueue.InflightSize(crashRingSize, packed)
	var n [2]int
	for q := range n {
		for i := range crashRingSize {
			if in.Bytes[q*each+unit+unit*i] != 0 {
				n[q]++
			}
		}
	}
	if n != [2]int{rx, tx} {
		l.Fatalf("chains in flight: %d, want %d", n, [2]int{rx, tx})
	}
}

func frames(to, n int) (fs [][]byte) {
	for range n {
		fs = append(fs, frameBetween(0, to, 200))
	}
	return fs
}

// got expects a station to have received these frames, in order.
func (l life) got(r *vswitchtest.Recorder, want [][]byte) {
	l.Helper()
	sent := r.Take()
	if len(sent) != len(want) {
		l.Fatalf("%d frames have arrived, want %d", len(sent), len(want))
	}
	for i := range want {
		if !bytes.Equal(sent[i].Bytes, want[i]) {
			l.Fatalf("frame %d is %s, want %s", i, dump(sent[i].Bytes), dump(want[i]))
		}
	}
}

// forEachCrashKind runs a test with each set of features that affects how chains are used.
func forEachCrashKind(t *testing.T, test func(t *testing.T, features uint64)) {
	for name, features := range map[string]uint64{
		"plain":            modern,
		"EVENT_IDX":        modern | eventIdx,
		"IN_ORDER":         modern | 1<<virtqueue.FeatureInOrder,
		"packed":           modern | 1<<virtqueue.FeatureRingPacked,
		"packed, IN_ORDER": modern | 1<<virtqueue.FeatureRingPacked | 1<<virtqueue.FeatureInOrder,
	} {
		t.Run(name, func(t *testing.T) { test(t, features) })
	}
}

// Frames that are on their way through the switch when it dies are sent by its successor. (Some had
// arrived before, and arrive again.)
func TestFramesInFlightAreSentAgain(t *testing.T) {
	forEachCrashKind(t, func(t *testing.T, features uint64) {
		d := newDeath()
		atNear := &vswitchtest.Recorder{}
		first := newLife(t, features, nil, atNear, d)
		in := first.begin()
		early := frames(near, 10)
		for _, f := range early {
			first.send(f)
		}
		first.poll()
		first.got(atNear, early)
		if n := first.reclaim(); n != len(early) {
			t.Fatalf("%d chains were returned", n)
		}
		first.inflight(in, 0, 0)

		toNear, toFar := frames(near, 35), frames(far, 35)
		for i := range toNear {
			first.send(toNear[i])
			first.send(toFar[i])
		}
		t.Cleanup(func() { close(d.over) })
		go first.transmitting()[0].Poll()
		<-d.reached
		first.got(atNear, toNear[:vswitch.MaxBatch/2])
		if n := first.reclaim(); n != 0 {
			t.Fatalf("%d chains were returned", n)
		}
		first.inflight(in, 0, vswitch.MaxBatch)

		atNear, atFar := &vswitchtest.Recorder{}, &vswitchtest.Recorder{}
		second := newLife(t, features, nil, atNear, atFar)
		second.inherit(first, in)
		for range 5 {
			second.poll()
			second.got(atNear, toNear)
			second.got(atFar, toFar)
			if n := second.reclaim(); n != len(toNear)+len(toFar) {
				t.Fatalf("%d chains were returned", n)
			}
			second.inflight(in, 0, 0)
			// The ring continues to work.
			toNear, toFar = frames(near, 50), frames(far, 50)
			for i := range toNear {
				second.send(toNear[i])
				second.send(toFar[i])
			}
		}
	})
}

// Receive buffers that were being filled when the switch died are filled by its successor: the
// guest loses none.
func TestBuffersInFlightAreFilledAgain(t *testing.T) {
	forEachCrashKind(t, func(t *testing.T, features uint64) {
		d := newDeath()
		first := newLife(t, features, func(uintptr) { d.stop() }, &vswitchtest.Recorder{}, &vswitchtest.Recorder{})
		in := first.begin()
		const buffers = 100
		first.post(first.rx[0], buffers, 1000)
		early := frames(0, 5)
		for _, f := range early {
			frame := vswitchtest.Frame(f)
			first.transmit(&frame)
			first.gets(f)
		}
		first.inflight(in, 0, 0)

		// The second frame of a group of four cannot be read.
		group := frames(0, 4)
		var fs []*vswitch.Frame
		for i := range group {
			f := vswitchtest.Frame(group[i])
			fs = append(fs, &f)
		}
		fs[1].Body = [][]byte{vanished(t)[:len(group[1])-len(fs[1].Head)]}
		t.Cleanup(func() { close(d.over) })
		go func() {
			debug.SetPanicOnFault(true)
			first.transmit(fs...)
		}()
		<-d.reached
		first.getsNothing()
		first.inflight(in, len(group), 0)

		second := newLife(t, features, nil, &vswitchtest.Recorder{}, &vswitchtest.Recorder{})
		second.inherit(first, in)
		left := buffers - len(early)
		long := frameBetween(near, 0, 2500) // fills three buffers
		for range 5 {
			f := vswitchtest.Frame(long)
			second.transmit(&f)
			second.gets(long)
			for range left - 3 {
				data := frameBetween(near, 0, 200)
				f := vswitchtest.Frame(data)
				second.transmit(&f)
				second.gets(data)
			}
			second.inflight(in, 0, 0)
			full := second.counters.Drops(vswitch.DropRingFull)
			if second.transmit(&f)[0] != "ring-full" || second.counters.Drops(vswitch.DropRingFull) != full+1 {
				t.Fatal("there are more buffers than before")
			}
			left = buffers
			second.post(second.rx[0], buffers, 1000)
		}
	})
}

// vanished returns a page that cannot be read.
func vanished(t *testing.T) []byte {
	t.Helper()
	fd, err := unix.MemfdCreate("vanished", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	mem, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	return mem
}
