package load_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vswitchd/bench/load"
	"vswitchd/vhostuser"
	"vswitchd/virtqueue"
)

const (
	eventIdx = 1 << virtqueue.FeatureEventIdx
	packed   = 1 << virtqueue.FeatureRingPacked
	offloads = 1<<0 | 1<<1 | 1<<7 | 1<<11
	mq       = 1 << 22
)

// generator makes a hub with some guests and traffic between them.
func generator(t *testing.T, h *hub, n int, cfg load.Config, traffic load.Traffic) *load.Generator {
	t.Helper()
	var ports []*load.Port
	for range n {
		ports = append(ports, h.connect(cfg))
	}
	g, err := load.NewGenerator(ports, traffic)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Announce(); err != nil {
		t.Fatal(err)
	}
	return g
}

// Every kind of ring and of traffic gets its frames through, and counts them.
func TestTraffic(t *testing.T) {
	for name, c := range map[string]struct {
		features uint64
		ports    int
		cfg      load.Config
		traffic  load.Traffic
	}{
		"split":       {eventIdx, 2, load.Config{}, load.Traffic{Size: 64}},
		"flags":       {0, 2, load.Config{NoEventIdx: true}, load.Traffic{Size: 64, Both: true}},
		"packed":      {packed, 2, load.Config{Packed: true}, load.Traffic{Size: 64, Both: true}},
		"packed 3":    {packed | eventIdx, 2, load.Config{Packed: true, Ring: 67}, load.Traffic{Size: 1500, Flows: 5, Both: true}},
		"flows":       {eventIdx, 2, load.Config{Ring: 64}, load.Traffic{Size: 60, Flows: 1000, MACs: 100, Both: true}},
		"GSO":         {offloads, 2, load.Config{Offloads: true, MaxFrame: 65226}, load.Traffic{Shape: load.GSO, Size: 65226, Flows: 3}},
		"two pairs":   {eventIdx, 5, load.Config{}, load.Traffic{Size: 590, Flows: 7, Pairs: 2, Both: true}},
		"many queues": {mq, 2, load.Config{Queues: 3, Ring: 32}, load.Traffic{Size: 128, Flows: 200, Both: true}},
		"broadcast":   {eventIdx, 4, load.Config{}, load.Traffic{Shape: load.Broadcast, Size: 64, Pairs: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, c.features)
			h.queues = max(1, c.cfg.Queues)
			g := generator(t, h, c.ports, c.cfg, c.traffic)
			copies := uint64(1)
			if c.traffic.Shape == load.Broadcast {
				copies = uint64(c.ports - 1)
			}
			for range 2 {
				before := h.lost()
				n, err := g.Check(3000)
				if err != nil {
					t.Fatal(err)
				}
				if n.Sent < 3000 || n.Strays != 0 || n.Lost != h.lost()-before || n.Received+n.Lost != copies*n.Sent {
					t.Errorf("%+v, and the hub lost %d", n, h.lost()-before)
				}
				if copies != 1 {
					continue
				}
				before = h.lost()
				r, err := g.Saturate(0, 20*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				took, frames := r.Elapsed()
				if r.Received == 0 || r.Lost() != int64(h.lost()-before) || frames > r.Received || took < 20*time.Millisecond {
					t.Errorf("%+v, and the hub lost %d", r, h.lost()-before)
				}
			}
		})
	}
}

// What a back-end does wrong is found by Check.
func TestCheckFinds(t *testing.T) {
	var held []byte
	for name, c := range map[string]struct {
		change func(n int, f []byte) [][]byte
		want   string
	}{
		"a changed byte at the end": {func(n int, f []byte) [][]byte {
			if n == 700 {
				f[len(f)-1]++
			}
			return [][]byte{f}
		}, "has changed"},
		"a changed header": {func(n int, f []byte) [][]byte {
			if n == 700 {
				f[12+20]++
			}
			return [][]byte{f}
		}, "has changed"},
		"a frame cut short": {func(n int, f []byte) [][]byte {
			if n == 700 {
				f = f[:len(f)-1]
			}
			return [][]byte{f}
		}, "bytes long"},
		"a frame twice": {func(n int, f []byte) [][]byte {
			if n == 700 {
				return [][]byte{f, f}
			}
			return [][]byte{f}
		}, "came after"},
		"a frame overtaken": {func(n int, f []byte) [][]byte {
			switch n {
			case 700:
				held = f
				return nil
			case 700 + 5: // the next of its flow
				return [][]byte{f, held}
			}
			return [][]byte{f}
		}, "came after"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, eventIdx)
			h.change = func(n int, f []byte) [][]byte { return c.change(n-1, f) } // the first was announced
			g := generator(t, h, 2, load.Config{}, load.Traffic{Size: 200, Flows: 5})
			_, err := g.Check(2000)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// A frame that does not arrive is counted, by Check and by Saturate.
func TestLossIsCounted(t *testing.T) {
	h := newHub(t, eventIdx)
	var dropped atomic.Int64
	total := 0
	h.change = func(_ int, f []byte) [][]byte {
		if total++; total%10 == 0 {
			dropped.Add(1)
			return nil
		}
		return [][]byte{f}
	}
	g := generator(t, h, 2, load.Config{}, load.Traffic{Size: 64, Flows: 3})
	before, full := dropped.Load(), h.lost()
	n, err := g.Check(5000)
	if want := uint64(dropped.Load()-before) + h.lost() - full; err != nil || n.Lost != want || n.Lost < 499 {
		t.Errorf("%+v, %v; %d were dropped", n, err, want)
	}
	before, full = dropped.Load(), h.lost()
	r, err := g.Saturate(0, 10*time.Millisecond)
	if want := dropped.Load() - before + int64(h.lost()-full); err != nil || r.Lost() != want || want == 0 {
		t.Errorf("%+v, %v; %d were dropped", r, err, want)
	}
}

// Broadcasts of a storm go to everybody and are not counted.
func TestStorm(t *testing.T) {
	h := newHub(t, eventIdx)
	var unicast, broadcast atomic.Uint64
	h.change = func(_ int, f []byte) [][]byte {
		if f[12]&1 == 0 {
			unicast.Add(1)
		} else {
			broadcast.Add(1)
		}
		return [][]byte{f}
	}
	g := generator(t, h, 5, load.Config{}, load.Traffic{Size: 64, Pairs: 1, Both: true, Storm: true})
	for range 2 {
		if _, err := g.Check(500); err != nil {
			t.Fatal(err)
		}
		if n := broadcast.Load(); n != 0 {
			t.Fatalf("%d broadcasts before the storm", n)
		}
		before := unicast.Load()
		r, err := g.Saturate(0, 20*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if r.Sent != unicast.Load()-before || r.Received == 0 || r.Received > r.Sent || broadcast.Swap(0) == 0 {
			t.Errorf("%+v; the hub has seen %d", r, unicast.Load()-before)
		}
	}
}

// Frames that the back-end does not write cannot pass for frames that it did: looking at one in a
// thousand finds them, even though memory still holds older ones.
func TestFramesThatWereNotWritten(t *testing.T) {
	h := newHub(t, eventIdx)
	g := generator(t, h, 2, load.Config{}, load.Traffic{Size: 64})
	if _, err := g.Saturate(0, 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.change = func(_ int, f []byte) [][]byte {
		f[12+50] ^= 0xff // in the tag
		return [][]byte{f}
	}
	h.mu.Unlock()
	for received := uint64(0); received < 10_000; {
		r, err := g.Saturate(0, 10*time.Millisecond)
		if err != nil {
			return
		}
		received += r.Received
	}
	t.Error("nothing was noticed")
}

// Frames that a switch floods are strays where they are not for.
func TestStrays(t *testing.T) {
	h := newHub(t, eventIdx)
	g := generator(t, h, 4, load.Config{}, load.Traffic{Size: 64, Pairs: 1})
	h.mu.Lock()
	h.flood = true
	h.mu.Unlock()
	n, err := g.Check(100)
	if want := (load.Count{Sent: 100, Received: 100, Strays: 200}); err != nil || n != want {
		t.Errorf("%+v, %v; want %+v", n, err, want)
	}
}

func TestOffer(t *testing.T) {
	h := newHub(t, eventIdx)
	g := generator(t, h, 2, load.Config{}, load.Traffic{Size: 64, Flows: 10, Both: true})
	began := time.Now()
	r, err := g.Offer(20_000, 10*time.Millisecond, 100*time.Millisecond)
	if err != nil || r.Received == 0 {
		t.Fatalf("%+v, %v", r.Rate, err)
	}
	if _, frames := r.Elapsed(); r.Latency.Histogram.TotalCount() == 0 || uint64(r.Latency.Histogram.TotalCount()) > r.Received {
		t.Errorf("%d frames timed of %d that arrived, %d of them after the warm-up", r.Latency.Histogram.TotalCount(), r.Received, frames)
	}
	// Never more than what is due, whatever the machine does.
	if took := time.Since(began); float64(r.Sent) > 20_000*took.Seconds() || r.Received > r.Sent {
		t.Errorf("%d frames sent in %v at 20000 per second", r.Sent, took)
	}
	if r.Lost() != int64(h.lost()) {
		t.Errorf("%d lost, the hub lost %d", r.Lost(), h.lost())
	}
}

// A burst is taken whole, by a device that is kicked once and calls once. Several may send to one.
func TestBurst(t *testing.T) {
	for name, c := range map[string]struct {
		ports   int
		traffic load.Traffic
		burst   int
	}{
		"pairs":  {4, load.Traffic{Size: 64, Flows: 10, Both: true}, 256},
		"toward": {3, load.Traffic{Size: 64, Flows: 10, Toward: true}, 128},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, eventIdx)
			g := generator(t, h, c.ports, load.Config{}, c.traffic)
			for range 3 {
				if took, err := g.Burst(c.burst); err != nil || took <= 0 {
					t.Fatal(took, err)
				}
			}
			if _, err := g.Check(100); err != nil {
				t.Error(err)
			}
			if _, err := g.Burst(257); err == nil {
				t.Error("a burst that the ring has no room for is not refused")
			}
		})
	}
}

func TestPingPong(t *testing.T) {
	h := newHub(t, eventIdx)
	g := generator(t, h, 2, load.Config{}, load.Traffic{Size: 64, Both: true})
	for _, quiet := range []time.Duration{0, 10 * time.Microsecond} {
		l, err := g.PingPong(50, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if n := l.Histogram.TotalCount(); n != 100 {
			t.Errorf("%d frames measured", n)
		}
		if l.Percentile(50) <= 0 || l.Percentile(50) > l.Percentile(99) {
			t.Errorf("half within %v, 99%% within %v", l.Percentile(50), l.Percentile(99))
		}
	}
}

// A back-end that connects is served as well.
func TestAccept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := load.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := newHub(t, eventIdx)
	s := &socket{h, make([]*vhostuser.Ring, 2)}
	ended := make(chan error, 1)
	go func() {
		c, err := (&vhostuser.Dialer{Path: path}).Connect(t.Context())
		if err == nil {
			err = vhostuser.Serve(t.Context(), c, s, vhostuser.Options{})
		}
		ended <- err
	}()
	p, err := load.Accept(l, load.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if err := <-ended; !errors.Is(err, vhostuser.ErrDisconnected) {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	h := newHub(t, 0)
	a, b := h.connect(load.Config{}), h.connect(load.Config{})
	for name, traffic := range map[string]load.Traffic{
		"too small":     {Size: load.MinSize - 1},
		"too large":     {Size: 1519},
		"too many":      {Size: 64, Pairs: 2},
		"too many MACs": {Size: 64, MACs: 1<<24 + 1},
	} {
		if _, err := load.NewGenerator([]*load.Port{a, b}, traffic); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	if f := a.Features(); f&eventIdx != 0 || f&(1<<virtqueue.FeatureVersion1) == 0 {
		t.Errorf("features %#x", f)
	}
}

// Windows in which somebody else had the processor do not count.
func TestCalm(t *testing.T) {
	ms := time.Millisecond
	r := load.Rate{Size: 100, Windows: []load.Window{
		{10 * ms, 0, 0, 5000}, {10 * ms, 9 * ms, 0, 1}, {10 * ms, 5 * ms, 0, 2}, {10 * ms, 0, 0, 4000}, {20 * ms, ms, 0, 6000},
	}}
	if n := len(r.Calm()); n != 3 {
		t.Errorf("%d calm windows", n)
	}
	if pps := r.PPS(); pps != 400_000 {
		t.Errorf("%v frames per second", pps)
	}
	if bps := r.BPS(); bps != 320e6 {
		t.Errorf("%v bits per second", bps)
	}
	if pps := (load.Rate{}).PPS(); pps != 0 {
		t.Errorf("%v frames per second without a window", pps)
	}
}

func ExampleMAC() {
	fmt.Printf("% x\n", load.MAC(3, 258))
	// Output: 02 76 03 00 01 02
}
