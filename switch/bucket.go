package vswitch

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// Token buckets, for policing and storm control.
//
// Locking: none. The inlets of one port, or of all ports that send to one port, share a bucket. Its
// only variable is one atomic word, which take replaces with compare-and-swap; whoever fails begins
// again, and then another goroutine has succeeded.

// ErrBadRate is wrapped by the errors about rates, bursts and limits of frames per second.
var ErrBadRate = errors.New("bad rate")

// Limits of the rates in PortConfig.
const (
	MinRate  = 1_000             // bits per second
	MaxRate  = 1_000_000_000_000 // bits per second
	MaxBurst = 1 << 30           // bytes
	MaxPPS   = 1_000_000_000     // frames per second
)

// A bucket that no burst is configured for holds what its rate gives in defaultBurst, and at least
// minBurstBytes or minBurstFrames. A burst of 20 ms leaves the rate within 2 % over one second.
const (
	defaultBurst   = 20 * time.Millisecond
	minBurstBytes  = 4096
	minBurstFrames = 16
)

// ticksPerSecond is the resolution of a bucket's time. A frame of 64 bytes takes 5 ns at 100
// Gbit/s, so a nanosecond would be too coarse; 63 bits of ticks last for 18 years.
const (
	ticksPerNano   = 16
	ticksPerSecond = ticksPerNano * uint64(time.Second)
)

// A bucket is a token bucket. Its level is stored as the time at which the bucket will be full
// again, in ticks of the switch's clock: a time that has passed means that the bucket is full.
//
// A frame passes as long as there is any token, and takes as many as it has bits, so that the level
// may become negative by less than one frame. So frames that are longer than the burst pass, too,
// at the same rate; a bucket that requires all of a frame's tokens would pass none of them.
type bucket struct {
	rate  uint64 // tokens per second
	burst uint64 // tokens in a full bucket
	depth int64  // the time in which an empty bucket becomes full, in ticks
	full  atomic.Int64
}

// newBucket makes a full bucket. burst divided by rate is less than 2^63 ticks.
func newBucket(rate, burst uint64) *bucket {
	return &bucket{rate: rate, burst: burst, depth: int64(mulDiv(burst, ticksPerSecond, rate))}
}

// like returns was if that bucket has the same rate and burst, so that a change of other settings
// of its port does not fill the bucket; else k.
func (k *bucket) like(was *bucket) *bucket {
	if k != nil && was != nil && k.rate == was.rate && k.burst == was.burst {
		return was
	}
	return k
}

// take takes the tokens of as many frames as there are tokens for, at time now in nanoseconds, and
// returns the number of these frames. They are the first ones: when the bucket is empty, it is
// empty for all further frames of the batch. sizes are the tokens that each frame takes.
func (k *bucket) take(now int64, sizes []uint32) int {
	ticks := now * ticksPerNano
	for {
		full := k.full.Load()
		from := max(full, ticks)
		n, sum := 0, uint64(0)
		if left := ticks + k.depth - from; left > 0 {
			tokens := mulDiv(uint64(left), k.rate, ticksPerSecond)
			for n < len(sizes) && sum < tokens {
				sum += uint64(sizes[n])
				n++
			}
		}
		if n == 0 {
			return 0
		}
		if k.full.CompareAndSwap(full, from+int64(mulDiv(sum, ticksPerSecond, k.rate))) {
			return n
		}
	}
}

// mulDiv returns a*b/c, which must be less than 2^64.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	q, _ := bits.Div64(hi, lo, c)
	return q
}

// bitBucket makes a bucket whose tokens are bits. burst is in bytes; 0: the default. A rate of 0
// makes none.
func bitBucket(rate, burst uint64) *bucket {
	if rate == 0 {
		return nil
	}
	if burst == 0 {
		burst = max(rate/8/uint64(time.Second/defaultBurst), minBurstBytes)
	}
	return newBucket(rate, burst*8)
}

// frameBucket makes a bucket whose tokens are frames. A rate of 0 makes none.
func frameBucket(pps int) *bucket {
	if pps == 0 {
		return nil
	}
	return newBucket(uint64(pps), max(uint64(pps)/uint64(time.Second/defaultBurst), minBurstFrames))
}

// limit makes what the rates of v's configuration need. was is the view that v replaces, or nil.
func (v *portView) limit(was *portView) {
	if was == nil {
		was = new(portView)
	}
	v.policing = newPolicing(&v.cfg, was.policing)
	v.storm = newStormControl(&v.cfg, was.storm)
	v.egress = bitBucket(v.cfg.EgressRate, v.cfg.EgressBurst).like(was.egress)
}

// checkRates checks c's rates.
func checkRates(c *PortConfig) error {
	bad := func(key, format string, args ...any) error {
		return &settingError{key, fmt.Errorf("%w: "+format, append([]any{ErrBadRate}, args...)...)}
	}
	for _, r := range []struct {
		name, burstName string
		rate, burst     uint64
	}{
		{"ingress_policing_rate", "ingress_policing_burst", c.IngressPolicingRate, c.IngressPolicingBurst},
		{"egress_rate", "egress_burst", c.EgressRate, c.EgressBurst},
	} {
		switch {
		case r.rate != 0 && (r.rate < MinRate || r.rate > MaxRate):
			return bad(r.name, "%s %d is not 0 or in %d to %d", r.name, r.rate, MinRate, MaxRate)
		case r.burst > MaxBurst:
			return bad(r.burstName, "%s %d is over %d", r.burstName, r.burst, MaxBurst)
		case r.burst != 0 && r.rate == 0:
			return bad(r.burstName, "%s is set without %s", r.burstName, r.name)
		}
	}
	for _, r := range []struct {
		name string
		pps  int
	}{
		{"ingress_policing_pps", c.IngressPolicingPPS},
		{"storm_control_pps", c.StormControlPPS},
		{"storm_control_bcast_pps", c.StormControlBcastPPS},
		{"storm_control_mcast_pps", c.StormControlMcastPPS},
		{"storm_control_unknown_pps", c.StormControlUnknownPPS},
	} {
		if r.pps < 0 || r.pps > MaxPPS {
			return bad(r.name, "%s %d is not in 0 to %d", r.name, r.pps, MaxPPS)
		}
	}
	return nil
}
