package worker

import (
	"math/rand/v2"
	"testing"
)

// A sender makes frames available. arrived returns how many have come since the last call, up to a
// time; served tells the sender when that many were served.
type sender interface {
	arrived(now int64) int
	served(now int64, n int)
}

// open sends at random times, at a rate.
type open struct {
	gap  float64 // nanoseconds between two frames, on average
	next float64
	rng  *rand.Rand
}

func (s *open) arrived(now int64) (n int) {
	for ; s.next <= float64(now); n++ {
		s.next += s.rng.ExpFloat64() * s.gap
	}
	return n
}

func (s *open) served(int64, int) {}

// closed has some frames under way, and sends each again some time after it was served.
type closed struct {
	delay int64
	due   []int64 // when the next frames come
}

func loopOf(frames int, delay int64) *closed {
	return &closed{delay: delay, due: make([]int64, frames)}
}

func (s *closed) arrived(now int64) (n int) {
	for ; n < len(s.due) && s.due[n] <= now; n++ {
	}
	s.due = s.due[n:]
	return n
}

func (s *closed) served(now int64, n int) {
	for range n {
		s.due = append(s.due, now+s.delay)
	}
}

// result is what a simulated worker did.
type result struct {
	paused float64 // share of the time
	frames float64 // in each pause, on average
	rate   float64 // frames per second
}

// simulate lets a moderator decide for some time how a worker waits that never sleeps. A round
// takes 200 ns, a frame costs cost ns, and a pause takes 20 µs more than it should.
func simulate(m *moderator, s sender, cost int64, from, to int64) (r result) {
	const longest = 50_000
	var paused, pauses, inPauses, frames int64
	now := from
	for now < to {
		wasPausing := m.pause > 0
		if wasPausing {
			now += m.pause + 20_000
			paused += m.pause
			pauses++
		}
		for {
			n := s.arrived(now)
			now += 200 + int64(n)*cost
			s.served(now, n)
			if n == 0 {
				break
			}
			frames += int64(n)
			m.served(n, 200+int64(n)*cost)
			if wasPausing {
				inPauses += int64(n)
			}
		}
		if wasPausing {
			m.paused(now, longest)
		} else if m.polledLongEnough(now) {
			m.tryPauses(now, longest)
		}
	}
	elapsed := float64(now - from)
	return result{float64(paused) / elapsed, float64(inPauses) / max(float64(pauses), 1), float64(frames) / elapsed * 1e9}
}

const second = 1_000_000_000

// A worker pauses if frames come often, whoever sends them, but not if its pauses slow the sender
// down.
func TestPausesWhereTheyCostNothing(t *testing.T) {
	rng := func() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
	at := func(pps float64) sender { return &open{gap: second / pps, rng: rng()} }
	for _, tt := range []struct {
		name   string
		sender func() sender
		cost   int64 // of a frame
		least  float64
		most   float64 // share of the time
	}{
		{"10,000 frames/s", func() sender { return at(10_000) }, 1000, 0, 0.02},
		{"50,000 frames/s", func() sender { return at(50_000) }, 1000, 0.5, 1},
		{"100,000 frames/s", func() sender { return at(100_000) }, 300, 0.6, 1},
		{"1,000,000 frames/s", func() sender { return at(1_000_000) }, 100, 0.5, 1},
		{"5,000,000 frames/s", func() sender { return at(5_000_000) }, 50, 0, 0},
		{"as many as the worker can serve", func() sender { return at(1_100_000) }, 900, 0, 0},
		{"one frame, to and fro", func() sender { return loopOf(1, 1000) }, 100, 0, 0.03},
		{"one frame, slow answers", func() sender { return loopOf(1, 20_000) }, 100, 0, 0.03},
		{"eight frames, to and fro", func() sender { return loopOf(8, 2000) }, 100, 0, 0.03},
		{"a window of 64 frames", func() sender { return loopOf(64, 30_000) }, 100, 0, 0.03},
		{"bursts of 64 frames", func() sender { return loopOf(64, 2_000_000) }, 100, 0, 0.1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			polling := simulate(&moderator{retryAt: 1 << 62}, tt.sender(), tt.cost, 0, second/2)
			r := simulate(&moderator{}, tt.sender(), tt.cost, 0, second/2)
			if r.paused < tt.least || r.paused > tt.most {
				t.Errorf("paused %.3f of the time, want %v to %v; %.1f frames in each pause", r.paused, tt.least, tt.most, r.frames)
			}
			if r.frames > 2*framesPerPause {
				t.Errorf("%.1f frames come in each pause", r.frames)
			}
			if r.rate < 0.9*polling.rate {
				t.Errorf("%.0f frames/s, %.0f with polling", r.rate, polling.rate)
			}
		})
	}
}

// When the rate changes the worker finds out, and does what is right for the new one.
func TestPausesFollowTheRate(t *testing.T) {
	m, s := &moderator{}, &open{rng: rand.New(rand.NewPCG(3, 4))}
	now := int64(0)
	for i, c := range []struct{ pps, least, most float64 }{
		{1_000_000, 0.5, 1}, {100_000, 0.5, 1}, {10_000, 0, 0.05}, {200_000, 0.5, 1}, {6_000_000, 0, 0.05}, {60_000, 0.5, 1},
	} {
		s.gap = second / c.pps
		s.next = float64(now)
		r := simulate(m, s, 50, now, now+second/2)
		now += second / 2
		if r.paused < c.least || r.paused > c.most {
			t.Errorf("step %d: paused %.3f of the time at %.0f frames/s, want %v to %v", i, r.paused, c.pps, c.least, c.most)
		}
	}
}

// While a worker sleeps its sources' rate is not what was measured before.
func TestSleepEndsPauses(t *testing.T) {
	m := &moderator{}
	simulate(m, &open{gap: 10_000, rng: rand.New(rand.NewPCG(5, 6))}, 100, 0, second/10)
	m.pause = 50_000
	m.slept(second, second+measurePolling)
	if m.pause == 0 {
		t.Error("a short sleep has ended the pauses")
	}
	if m.slept(second, second+measurePolling+1); m.pause != 0 || m.frames != 0 {
		t.Errorf("after a long sleep: %+v", *m)
	}
}
