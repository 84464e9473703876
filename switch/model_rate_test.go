package vswitch_test

import vswitch "vswitchd/switch"

// The model's rates: token buckets with whole numbers, which the rates of the model allow.

// A modelBucket has tokens of a unit, such as bits.
type modelBucket struct{ rate, burst, level int }

// bitsBucket and framesBucket make full buckets, with the default sizes; nil: there is no limit.
func bitsBucket(rate, burst uint64) *modelBucket {
	if rate == 0 {
		return nil
	}
	size := 8 * int(burst)
	if size == 0 {
		size = 8 * max(int(rate)/8/50, 4096)
	}
	return &modelBucket{int(rate), size, size}
}

func framesBucket(pps int) *modelBucket {
	if pps == 0 {
		return nil
	}
	size := max(pps/50, 16)
	return &modelBucket{pps, size, size}
}

// fill adds what comes in some seconds.
func (b *modelBucket) fill(seconds int) {
	if b != nil {
		b.level = min(b.burst, b.level+seconds*b.rate)
	}
}

// take takes the tokens of a frame, if there are any left: the frame may take more than that.
func (b *modelBucket) take(n int) bool {
	switch {
	case b == nil:
		return true
	case b.level <= 0:
		return false
	}
	b.level -= n
	return true
}

// keep returns was if that bucket has the same rate and size.
func (b *modelBucket) keep(was *modelBucket) *modelBucket {
	if b != nil && was != nil && b.rate == was.rate && b.burst == was.burst {
		return was
	}
	return b
}

// modelRates are the buckets of a port.
type modelRates struct {
	policeBits, policeFrames, egress *modelBucket
	bcast, mcast, unknown, flooded   *modelBucket
}

// ratesOf makes the buckets of a configuration; those whose settings have not changed are was's.
func ratesOf(c *vswitch.PortConfig, was modelRates) modelRates {
	return modelRates{
		policeBits:   bitsBucket(c.IngressPolicingRate, c.IngressPolicingBurst).keep(was.policeBits),
		policeFrames: framesBucket(c.IngressPolicingPPS).keep(was.policeFrames),
		egress:       bitsBucket(c.EgressRate, c.EgressBurst).keep(was.egress),
		bcast:        framesBucket(c.StormControlBcastPPS).keep(was.bcast),
		mcast:        framesBucket(c.StormControlMcastPPS).keep(was.mcast),
		unknown:      framesBucket(c.StormControlUnknownPPS).keep(was.unknown),
		flooded:      framesBucket(c.StormControlPPS).keep(was.flooded),
	}
}

func (r *modelRates) fill(seconds int) {
	for _, b := range []*modelBucket{r.policeBits, r.policeFrames, r.egress, r.bcast, r.mcast, r.unknown, r.flooded} {
		b.fill(seconds)
	}
}

// police returns the frames that a port may send.
func (m *model) police(p *modelPort, frames []modelFrame) (left []modelFrame) {
	for _, f := range frames {
		if p.rates.policeFrames.take(1) && p.rates.policeBits.take(8*len(f.raw)) {
			left = append(left, f)
		} else {
			p.drops["rate-limit"]++
		}
	}
	return left
}

// afford returns the frames that can be sent to a port.
func (m *model) afford(p *modelPort, frames []modelFrame) (left []modelFrame) {
	for _, f := range frames {
		if p.rates.egress.take(8 * len(p.shaped(f))) {
			left = append(left, f)
		} else {
			p.drops["egress-rate"]++
		}
	}
	return left
}
