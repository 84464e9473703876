package vswitch_test

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// A rated is a switch with ports a and b that discard frames, and a clock for rates.
type rated struct {
	nanos atomic.Int64
	from  []*vswitch.Inlet // two, of port a
	a     *vswitch.Attachment
	b     *vswitch.Counters
}

func newRated(t *testing.T, a, b func(*vswitch.PortConfig)) *rated {
	t.Helper()
	r := new(rated)
	s := vswitch.NewStill(vswitch.Config{Nanotime: r.nanos.Load})
	attach := func(name string, configure func(*vswitch.PortConfig)) (*vswitch.Attachment, *vswitch.Counters) {
		cfg := vswitch.DefaultPortConfig(name)
		cfg.Counters = new(vswitch.Counters)
		if configure != nil {
			configure(&cfg)
		}
		att, err := s.Attach(cfg, &vswitchtest.Sink{Counters: cfg.Counters})
		if err != nil {
			t.Fatal(err)
		}
		att.SetUp(true)
		return att, cfg.Counters
	}
	r.a, _ = attach("a", a)
	_, r.b = attach("b", b)
	r.from = []*vswitch.Inlet{r.a.NewInlet(), r.a.NewInlet()}
	return r
}

// offer sends frames of a length from port a at a rate in bits per second for a time, in batches of
// what comes in up to 0.3 ms, and returns the bits per second that port b got.
func (r *rated) offer(rate float64, length int, d time.Duration) float64 {
	batch := make([]vswitch.Frame, vswitch.MaxBatch)
	for i := range batch {
		batch[i] = vswitchtest.Frame(vswitchtest.Ether(vswitchtest.Station(2), vswitchtest.Station(1), make([]byte, length-14)))
	}
	begin, was := r.nanos.Load(), r.b.TxBytes.Load()
	for sent, i := 0.0, 0; ; i++ {
		now := begin + int64(sent/rate*1e9)
		if now >= begin+int64(d) {
			break
		}
		r.nanos.Store(now)
		n := min(max(1, int(rate*0.0003*float64(i%8)/7)/(8*length)), vswitch.MaxBatch)
		r.from[i%2].Deliver(batch[:n])
		sent += float64(n * length * 8)
	}
	r.nanos.Store(begin + int64(d))
	return float64(r.b.TxBytes.Load()-was) * 8 / d.Seconds()
}

var testRates = []uint64{10e6, 1e9, 10e9}

// checkRate offers a port twice what a rate allows, and then less.
func checkRate(t *testing.T, r *rated, rate uint64) {
	t.Helper()
	for _, length := range []int{1514, 9014} {
		for _, when := range []string{"the first second, with a full bucket", "the second after"} {
			got := r.offer(float64(2*rate), length, time.Second)
			if d := got/float64(rate) - 1; math.Abs(d) > 0.03 {
				t.Errorf("frames of %d bytes, %s: %.0f bits per second, %+.1f %% of %d", length, when, got, 100*d, rate)
			}
		}
		r.nanos.Add(int64(time.Second))
		offered := 0.97 * float64(rate)
		if got := r.offer(offered, length, time.Second); got < 0.99*offered {
			t.Errorf("frames of %d bytes: of %.0f bits per second, below the rate, only %.0f pass", length, offered, got)
		}
		r.nanos.Add(int64(time.Second))
	}
}

// limits are a rate of port a to b, from a and to b.
var limits = map[string]func(rate, burst uint64) (a, b func(*vswitch.PortConfig)){
	"ingress": func(rate, burst uint64) (a, b func(*vswitch.PortConfig)) {
		return func(c *vswitch.PortConfig) { c.IngressPolicingRate, c.IngressPolicingBurst = rate, burst }, nil
	},
	"egress": func(rate, burst uint64) (a, b func(*vswitch.PortConfig)) {
		return nil, func(c *vswitch.PortConfig) { c.EgressRate, c.EgressBurst = rate, burst }
	},
}

// Several inlets together send what ingress_policing_rate or egress_rate says, within 3 % over a
// second.
func TestRatesAreAccurate(t *testing.T) {
	for name, limit := range limits {
		for _, rate := range testRates {
			t.Run(fmt.Sprint(name, " ", rate), func(t *testing.T) {
				a, b := limit(rate, 0)
				checkRate(t, newRated(t, a, b), rate)
			})
		}
	}
}

// Limits in frames per second let as many frames pass, whatever their length.
func TestFrameRatesAreAccurate(t *testing.T) {
	for name, limit := range map[string]func(c *vswitch.PortConfig, pps int){
		"policing":      func(c *vswitch.PortConfig, pps int) { c.IngressPolicingPPS = pps },
		"storm control": func(c *vswitch.PortConfig, pps int) { c.StormControlPPS = pps },
	} {
		for _, pps := range []int{2000, 1e6} {
			t.Run(fmt.Sprint(name, " ", pps), func(t *testing.T) {
				r := newRated(t, func(c *vswitch.PortConfig) { limit(c, pps) }, nil)
				for _, length := range []int{60, 1514} {
					bits := float64(length * 8)
					got := r.offer(2*float64(pps)*bits, length, time.Second) / bits
					if d := got/float64(pps) - 1; math.Abs(d) > 0.03 {
						t.Errorf("frames of %d bytes: %.0f pass in a second, %+.1f %% of %d", length, got, 100*d, pps)
					}
				}
			})
		}
	}
}

// Inlets that deliver at the same time cannot send more than one inlet could.
func TestRatesAreSharedByAllInlets(t *testing.T) {
	const burst = 1 << 20
	for name, limit := range limits {
		t.Run(name, func(t *testing.T) {
			a, b := limit(vswitch.MinRate, burst)
			r := newRated(t, a, b)
			var all sync.WaitGroup
			for _, in := range r.from {
				all.Go(func() {
					batch := make([]vswitch.Frame, vswitch.MaxBatch)
					for i := range batch {
						batch[i] = vswitchtest.Frame(vswitchtest.Ether(vswitchtest.Station(2), vswitchtest.Station(1), make([]byte, 1010)))
					}
					for range 100 {
						in.Deliver(batch[:17])
					}
				})
			}
			all.Wait()
			if n := r.b.TxFrames.Load(); n != burst/1024 {
				t.Errorf("%d frames of 1024 bytes passed a bucket of %d", n, burst)
			}
		})
	}
}

// Without a rate, the clock is not read; with one, it is read once for each batch.
func TestClockIsReadOnlyForRates(t *testing.T) {
	var reads atomic.Int64
	l := newLab(t, vswitch.Config{Nanotime: func() int64 { return reads.Add(1) }})
	a := l.add("a")
	l.add("b")
	send := func() { l.send("a", ether(macB, macA, "1"), ether(broadcast, macA, "2"), ether(macB, macC, "3")) }
	send()
	if n := reads.Load(); n != 0 {
		t.Errorf("without a rate, the clock was read %d times", n)
	}
	cfg := a.Config()
	cfg.IngressPolicingRate, cfg.IngressPolicingPPS, cfg.EgressRate, cfg.StormControlPPS = 1e9, 1e6, 1e9, 1e6
	if err := a.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	send()
	if n := reads.Load(); n != 1 {
		t.Errorf("for one batch, the clock was read %d times", n)
	}
}
