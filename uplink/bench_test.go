package uplink

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// testFrames are the frames that benchmarks send: small, of the MTU, and the 64 KiB of a stack with
// segmentation offload.
func testFrames() map[string]*vswitch.Frame {
	gso, o := ipFrame(false, protoTCP, 65000)
	o.GSOType, o.GSOSize = vswitch.GSOTCPv4, 1448
	return map[string]*vswitch.Frame{
		"64B":    frameOf(ethernet(farMAC, guestMAC, ethExperimental, 50, 0), vswitch.Offload{}, 1),
		"1500B":  frameOf(ethernet(farMAC, guestMAC, ethExperimental, 1486, 0), vswitch.Offload{}, 1),
		"64KiB":  frameOf(gso, o, 17),
		"4.5KiB": gsoFrame(4344),
	}
}

func gsoFrame(n int) *vswitch.Frame {
	data, o := ipFrame(false, protoTCP, n)
	o.GSOType, o.GSOSize = vswitch.GSOTCPv4, 1448
	return frameOf(data, o, 2)
}

var frameSizes = []string{"64B", "1500B", "4.5KiB", "64KiB"}

// cpuTime is the time that the process has had a CPU for, in the kernel too: it depends less than
// the clock on what else the machine is doing.
func cpuTime(b *testing.B) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// perFrame replaces the benchmark's time by d for each of n frames.
func perFrame(b *testing.B, d time.Duration, n int) {
	b.ReportMetric(float64(d.Nanoseconds())/float64(n), "ns/frame")
	b.ReportMetric(0, "ns/op")
}

// discard stands in for a switch that looks at every frame's addresses.
func discard(frames []vswitch.Frame) {
	for i := range frames {
		addressSum += int(frames[i].Head[0])
	}
}

var addressSum int

// TestNoAllocations: neither receiving, in and beside the ring, nor sending allocates.
func TestNoAllocations(t *testing.T) {
	l := newLab(t)
	r := newRig(t, nil)
	r.u.sock.rx.deliver = discard
	far := l.station(true)
	var mixed []*vswitch.Frame
	for _, f := range testFrames() {
		mixed = append(mixed, f)
	}
	batch := slices.Repeat(mixed, 8)
	send := new(txBatch)
	polled := 0
	if n := testing.AllocsPerRun(20, func() {
		for part := range slices.Chunk(mixed, 2) {
			send.send(far.fd, part[:send.fill(part, math.MaxInt)])
		}
		polled += r.u.sock.rx.Poll()
	}); n != 0 || polled == 0 {
		t.Errorf("%v allocations in receiving, %d frames", n, polled)
	}
	sent := 0
	if n := testing.AllocsPerRun(20, func() { sent += r.u.Transmit(batch) }); n != 0 || sent == 0 {
		t.Errorf("%v allocations in sending, %d frames", n, sent)
	}
}

// BenchmarkPoll measures what receiving and delivering a frame costs the worker: the ring is filled
// from the far side without the clock running.
func BenchmarkPoll(b *testing.B) {
	for _, size := range frameSizes {
		b.Run(size, func(b *testing.B) {
			l := newLab(b)
			r := newRig(b, nil)
			r.u.sock.rx.deliver = discard
			far := l.station(true)
			f := testFrames()[size]
			batch := new(txBatch)
			frames := slices.Repeat([]*vswitch.Frame{f}, vswitch.MaxBatch)
			var spent time.Duration
			n := 0
			b.ReportAllocs()
			b.ResetTimer()
			for n < b.N {
				batch.send(far.fd, frames[:batch.fill(frames, math.MaxInt)])
				start := time.Now()
				for k := 1; k > 0; n += k {
					k = r.u.sock.rx.Poll()
				}
				spent += time.Since(start)
			}
			perFrame(b, spent, n)
			if d := r.u.Status().KernelDrops; d > 0 {
				b.Errorf("%d frames dropped", d)
			}
		})
	}
}

// BenchmarkTransmit measures a batch of 64 frames to a veth, the far side's reception, without a
// reader, included. As in use, a worker waits for the uplink.
func BenchmarkTransmit(b *testing.B) {
	for _, size := range frameSizes {
		for _, bypass := range []int{0, 1} {
			b.Run(fmt.Sprintf("%s/bypass=%d", size, bypass), func(b *testing.B) {
				newLab(b)
				r := begin(b, nil)
				if err := unix.SetsockoptInt(r.u.sock.out, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, bypass); err != nil {
					b.Fatal(err)
				}
				batch := slices.Repeat([]*vswitch.Frame{testFrames()[size]}, vswitch.MaxBatch)
				b.ReportAllocs()
				n := 0
				start := cpuTime(b)
				for b.Loop() {
					n += r.u.Transmit(batch)
				}
				perFrame(b, cpuTime(b)-start, max(n, 1))
			})
		}
	}
}

// rings are the ways to receive that were compared.
var rings = []struct {
	name string
	open func(b *testing.B, index int) (fd int, poll func(func([]vswitch.Frame)) int)
}{
	{"V2", func(b *testing.B, index int) (int, func(func([]vswitch.Frame)) int) {
		return openRing2(b, index, minSlotSize, DefaultRingSize)
	}},
	{"V2-64KiB-slots", func(b *testing.B, index int) (int, func(func([]vswitch.Frame)) int) {
		return openRing2(b, index, 128<<10, 16<<20)
	}},
	{"V3", func(b *testing.B, index int) (int, func(func([]vswitch.Frame)) int) {
		r := newRing3(b, index)
		r.rx.counters = new(vswitch.Counters)
		return r.fd, r.poll
	}},
}

func openRing2(b *testing.B, index, slotSize, size int) (int, func(func([]vswitch.Frame)) int) {
	s, err := openSocket(socketConfig{index: index, ringSize: size, slotSize: slotSize})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.close() })
	s.rx.counters = new(vswitch.Counters)
	return s.fd, func(deliver func([]vswitch.Frame)) (n int) {
		s.rx.deliver = deliver
		for k := 1; k > 0; n += k {
			k = s.rx.Poll()
		}
		return n
	}
}

// BenchmarkRoundTrip is a ping: a frame from the far side is answered by a worker that sleeps in
// epoll. The time of one is that of a ping through the uplink, less the guest's.
func BenchmarkRoundTrip(b *testing.B) {
	for _, v := range rings {
		b.Run(v.name, func(b *testing.B) {
			l := newLab(b)
			k, err := findLink(nearName, 0)
			l.check(err)
			fd, poll := v.open(b, k.index)
			far := l.station(true)
			p := newPump(b, &answerer{fd: fd, poll: poll, l: l}, nil)
			go p.echo()
			b.Cleanup(p.stop)
			ping := make([]byte, vnetHdrLen, 256)
			ping = append(ping, ethernet(guestMAC, farMAC, ethExperimental, 50, 0)...)
			buf := make([]byte, 256)
			for b.Loop() {
				if _, err := unix.Write(far.fd, ping); err != nil {
					b.Fatal(err)
				}
				_, err := unix.Read(far.fd, buf)
				for err == unix.EINTR { // a socket with a timeout is not restarted
					_, err = unix.Read(far.fd, buf)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// An answerer is a Source that sends an answer to each frame.
type answerer struct {
	fd   int
	poll func(func([]vswitch.Frame)) int
	l    *lab
}

var answer = append(make([]byte, vnetHdrLen), ethernet(farMAC, guestMAC, ethExperimental, 50, 0)...)

func (a *answerer) FD() int { return a.fd }
func (a *answerer) Poll() int {
	return a.poll(func(frames []vswitch.Frame) {
		for range frames {
			if _, err := unix.Write(a.fd, answer); err != nil {
				a.l.t.Error(err)
			}
		}
	})
}
func (a *answerer) Arm() bool { return false }
func (a *answerer) Disarm()   {}

// echo is run without its statistics; the timeout is for what arrived between Poll and the wait.
func (p *pump) echo() {
	defer close(p.done)
	events := make([]unix.EpollEvent, 4)
	for !p.quit.Load() {
		if p.s.Poll() == 0 {
			_, _ = unix.EpollWait(p.ep, events, 100)
		}
	}
}

// BenchmarkRing measures everything that a frame costs on one thread, from the far side's send to
// its delivery here: the kernel's copy into the ring, and ours of what does not fit.
func BenchmarkRing(b *testing.B) {
	for _, v := range rings {
		for _, size := range frameSizes {
			b.Run(v.name+"/"+size, func(b *testing.B) {
				l := newLab(b)
				k, err := findLink(nearName, 0)
				l.check(err)
				_, poll := v.open(b, k.index)
				far := l.station(true)
				batch := new(txBatch)
				frames := slices.Repeat([]*vswitch.Frame{testFrames()[size]}, 16)
				sent, n := 0, 0
				start := cpuTime(b)
				for b.Loop() {
					s, _ := batch.send(far.fd, frames[:batch.fill(frames, math.MaxInt)])
					sent += s
					n += poll(discard)
				}
				perFrame(b, cpuTime(b)-start, max(n, 1))
				b.ReportMetric(float64(sent-n)/float64(sent)*100, "%lost-or-late")
			})
		}
	}
}
