package vswitch_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// A gate is a Port that counts calls after its Detach.
type gate struct {
	counters *vswitch.Counters
	gone     atomic.Bool
	late     atomic.Int64 // calls after Detach
	inside   atomic.Int64
}

func (g *gate) Caps() vswitch.Caps { return vswitch.Caps{} }

func (g *gate) Transmit(frames []*vswitch.Frame) int {
	g.inside.Add(1)
	if g.gone.Load() {
		g.late.Add(1)
	}
	n := 0
	for _, f := range frames {
		n += len(vswitchtest.Bytes(f))
	}
	if g.gone.Load() {
		g.late.Add(1)
	}
	g.counters.TxFrames.Add(uint64(len(frames)))
	g.inside.Add(-1)
	return len(frames)
}

// TestConcurrentUse has several inlets deliver while ports are attached, detached, set up and down
// and reconfigured, and the FDB is changed and listed. It is for the race detector; at the end, the
// counters must agree with one another.
func TestConcurrentUse(t *testing.T) {
	const rounds, senders = 300, 4
	s := vswitch.New(vswitch.Config{TableSize: 64})
	defer s.Close()

	attach := func(name string) (*vswitch.Attachment, *gate) {
		cfg := vswitch.DefaultPortConfig(name)
		cfg.Counters = new(vswitch.Counters)
		g := &gate{counters: cfg.Counters}
		a, err := s.Attach(cfg, g)
		if err != nil {
			t.Error(err)
			return nil, nil
		}
		a.SetUp(true)
		return a, g
	}

	var stop atomic.Bool
	var traffic, control sync.WaitGroup
	var delivered [senders]uint64
	var from [senders]*vswitch.Attachment
	for i := range senders {
		// Two inlets belong to the same port.
		if i%2 == 0 {
			from[i], _ = attach(fmt.Sprintf("src%d", i))
		} else {
			from[i] = from[i-1]
		}
		in := from[i].NewInlet()
		r := rand.New(rand.NewPCG(uint64(i), 0))
		traffic.Go(func() {
			defer in.Close()
			for !stop.Load() {
				fs := make([]vswitch.Frame, 1+r.IntN(vswitch.MaxBatch))
				for j := range fs {
					src, dst := vswitchtest.Station(r.IntN(100)), vswitchtest.Station(r.IntN(100))
					if r.IntN(10) == 0 {
						dst = broadcast
					}
					var ts []vswitchtest.Tag
					if r.IntN(4) == 0 {
						ts = append(ts, tag(0, 5))
					}
					fs[j] = vswitchtest.Frame(ether(dst, src, "x", ts...))
				}
				in.Deliver(fs)
				delivered[i] += uint64(len(fs))
				runtime.Gosched()
			}
		})
	}

	control.Go(func() { // a port that comes and goes
		for range rounds {
			a, g := attach("guest")
			in := a.NewInlet()
			in.Deliver([]vswitch.Frame{vswitchtest.Frame(ether(broadcast, macA, ""))})
			a.SetUp(false)
			if n := len(s.FDB("guest", vswitch.AnyVLAN)); n != 0 {
				t.Errorf("%d entries of a port that is down", n)
			}
			a.SetUp(true)
			if err := s.AddFDB(vswitch.StaticEntry{MAC: macB, Port: "guest"}); err != nil {
				t.Error(err)
			}
			a.Detach()
			g.gone.Store(true)
			if n := g.inside.Load(); n != 0 {
				t.Errorf("%d Transmits are running after Detach", n)
			}
			in.Close()
			runtime.Gosched()
			if n := g.late.Load(); n != 0 {
				t.Errorf("Transmit was called %d times after Detach", n)
			}
		}
	})
	control.Go(func() { // a port that is reconfigured
		a, _ := attach("changing")
		for i := range rounds {
			cfg := a.Config()
			cfg.Tag = []uint16{0, 5}[i%2]
			cfg.Learning, cfg.MaxMACs = i%3 != 0, i%7
			cfg.MACs = []vswitch.MAC{vswitchtest.Station(1000 + i%3)}
			if err := a.Reconfigure(cfg); err != nil {
				t.Error(err)
			}
			a.SetUp(i%5 != 0)
		}
	})
	control.Go(func() { // a reader
		for i := range rounds {
			s.FDB("", vswitch.AnyVLAN)
			s.Stats()
			s.Ports()
			if i%10 == 0 {
				s.Flush(vswitch.FDBFilter{VLAN: vswitch.AnyVLAN})
			}
			s.DelFDB(vswitchtest.Station(i%100), 0)
		}
	})
	control.Wait()
	stop.Store(true)
	traffic.Wait()

	s.Check(t)
	for i := 0; i < senders; i += 2 {
		if got, want := from[i].Counters().RxFrames.Load(), delivered[i]+delivered[i+1]; got != want {
			t.Errorf("%s: received %d frames of %d", from[i].Name(), got, want)
		}
	}
}

// blocking is a Port in which a Transmit blocks until it is released.
type blocking struct {
	entered, leave chan struct{}
	left           atomic.Bool
}

func (b *blocking) Caps() vswitch.Caps { return vswitch.Caps{} }

func (b *blocking) Transmit(frames []*vswitch.Frame) int {
	b.entered <- struct{}{}
	<-b.leave
	b.left.Store(true)
	return len(frames)
}

// TestWaitForTransmit: while a Transmit is running, SetUp returns, but functions that wait until no
// Transmit is running do not.
func TestWaitForTransmit(t *testing.T) {
	for name, call := range map[string]func(*lab, *vswitch.Attachment) error{
		"Detach": func(l *lab, a *vswitch.Attachment) error {
			a.Detach()
			return nil
		},
		"second Detach": func(l *lab, a *vswitch.Attachment) error {
			go a.Detach()
			for len(l.s.Ports()) != 1 {
				runtime.Gosched()
			}
			a.Detach()
			return nil
		},
		"Reconfigure": func(l *lab, a *vswitch.Attachment) error { return a.Reconfigure(a.Config()) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, vswitch.Config{})
			l.add("a")
			b := &blocking{entered: make(chan struct{}), leave: make(chan struct{})}
			a, err := l.s.Attach(vswitch.DefaultPortConfig("b"), b)
			if err != nil {
				t.Fatal(err)
			}
			a.SetUp(true)
			var both sync.WaitGroup
			both.Go(func() { l.send("a", ether(broadcast, macA, "")) })
			<-b.entered
			a.SetUp(false)
			both.Go(func() {
				if err := call(l, a); err != nil {
					t.Error(err)
				}
				if !b.left.Load() {
					t.Error("it returned while a Transmit was running")
				}
			})
			for range 1000 { // time for a defect to show
				runtime.Gosched()
			}
			close(b.leave)
			both.Wait()
		})
	}
}

// panicking is a Port whose Transmit faults on the frame's memory.
type panicking struct{ vswitchtest.Recorder }

func (p *panicking) Transmit([]*vswitch.Frame) int { panic("memory fault") }

// TestPanicInTransmit: a worker that recovers from a fault in a guest's memory can go on with the
// same inlet, and Detach does not wait forever.
func TestPanicInTransmit(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	a, err := l.s.Attach(vswitch.DefaultPortConfig("bad"), &panicking{})
	if err != nil {
		t.Fatal(err)
	}
	a.SetUp(true)
	in := a.NewInlet()
	in.Deliver([]vswitch.Frame{vswitchtest.Frame(ether(broadcast, macC, ""))})
	l.got()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not reach the worker")
			}
		}()
		l.send("a", ether(macC, macA, "1"), ether(macC, multicast, ""))
	}()
	l.drops("a", drops{"bad-source": 1})
	a.Detach()
	l.send("a", ether(macB, macA, "2"))
	l.want("after the panic", got{"b": "2"})
	l.drops("a", drops{"bad-source": 1})
}

// A cable is a port that passes what it is sent to another port's inlet, which another goroutine
// uses, as a wire does. It has room for some frames.
type cable struct {
	counters *vswitch.Counters
	frames   chan []byte
}

func (c *cable) Caps() vswitch.Caps { return vswitch.Caps{} }

func (c *cable) Transmit(frames []*vswitch.Frame) (sent int) {
	for _, f := range frames {
		select {
		case c.frames <- vswitchtest.Bytes(f):
			sent++
		default:
			f.Refuse(vswitch.DropRingFull)
		}
	}
	c.counters.TxFrames.Add(uint64(sent))
	return sent
}

// TestLoopsWithSeveralWorkers connects ports by two cables, each of whose ends has its own
// goroutine, while others reconfigure the ports and set them down and up. When that is over, the
// storm is, too.
func TestLoopsWithSeveralWorkers(t *testing.T) {
	s := vswitch.New(vswitch.Config{Loop: vswitch.LoopConfig{Detect: true}})
	defer s.Close()
	var ports []*vswitch.Attachment
	var cables []*cable
	for _, name := range []string{"a", "b", "c", "d"} {
		cfg := vswitch.DefaultPortConfig(name)
		cfg.Counters = new(vswitch.Counters)
		c := &cable{counters: cfg.Counters, frames: make(chan []byte, 256)}
		a, err := s.Attach(cfg, c)
		if err != nil {
			t.Fatal(err)
		}
		a.SetUp(true)
		ports, cables = append(ports, a), append(cables, c)
	}
	stop := make(chan struct{})
	var workers, changes sync.WaitGroup
	for i := range ports {
		in, from := ports[i].NewInlet(), cables[i^1]
		defer in.Close()
		workers.Go(func() {
			for {
				select {
				case b := <-from.frames:
					in.Deliver([]vswitch.Frame{vswitchtest.Frame(b)})
				case <-stop:
					return
				}
			}
		})
	}
	source := vswitch.DefaultPortConfig("source")
	source.Counters = new(vswitch.Counters)
	a, err := s.Attach(source, &vswitchtest.Sink{Counters: source.Counters})
	if err != nil {
		t.Fatal(err)
	}
	a.SetUp(true)
	in := a.NewInlet()
	defer in.Close()
	send := func() {
		in.Deliver([]vswitch.Frame{vswitchtest.Frame(vswitchtest.Ether(vswitchtest.Broadcast, macA, []byte("storm")))})
	}
	for _, p := range ports {
		changes.Go(func() {
			for i := range 50 {
				p.SetUp(i%2 == 1)
				cfg := p.Config()
				cfg.LoopDetection = i%5 != 3
				if err := p.Reconfigure(cfg); err != nil {
					t.Error(err)
				}
				s.Ports()
				s.LoopReports()
			}
		})
	}
	for range 50 {
		send()
		runtime.Gosched()
	}
	changes.Wait()
	blocked := func() (n int) {
		for _, p := range s.Ports() {
			if p.Loop != nil {
				n++
			}
		}
		return n
	}
	for blocked() < 2 {
		send()
		runtime.Gosched()
	}
	quiet := func() bool {
		return len(cables[0].frames)+len(cables[1].frames)+len(cables[2].frames)+len(cables[3].frames) == 0
	}
	for !quiet() {
		runtime.Gosched()
	}
	close(stop)
	workers.Wait()
	if n := blocked(); n > 2 {
		t.Errorf("%d ports are blocked because of two loops", n)
	}
}
