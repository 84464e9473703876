package worker

import (
	"testing"
)

// A meter is a source that always has work. Each batch advances the clock, which nothing
// else does, by cost.
type meter struct {
	clock *int64
	cost  int64
	batch int
	spent int64

	last, pause int64 // time of the last poll, and the longest time between two polls
}

func (m *meter) FD() int   { return -1 }
func (m *meter) Arm() bool { return true }
func (m *meter) Disarm()   {}

func (m *meter) Poll() int {
	m.pause = max(m.pause, *m.clock-m.last)
	*m.clock += m.cost
	m.last = *m.clock
	m.spent += m.cost
	return m.batch
}

// Sources that always have work get the same time, whatever their batches cost.
func TestTimeIsShared(t *testing.T) {
	for name, costs := range map[string][]int64{
		"one":                    {3_000},
		"the same":               {3_000, 3_000},
		"broadcasts and unicast": {400_000, 400_000, 400_000, 400_000, 3_000},
		"all expensive":          {400_000, 500_000},
		"very small":             {2_600, 700_000},
	} {
		t.Run(name, func(t *testing.T) {
			var clock int64
			w := &worker{clock: func() int64 { return clock }}
			var meters []*meter
			for _, c := range costs {
				m := &meter{clock: &clock, cost: c, batch: MaxBatch}
				meters = append(meters, m)
				w.active = append(w.active, &entry{src: m, id: -1, port: new(portShare)})
			}
			rounds := 0
			for ; clock < 1e9; rounds++ {
				if n, now := w.round(clock); n == 0 || now != clock {
					t.Fatalf("round %d: %d done at %d, but the time is %d", rounds, n, now, clock)
				}
			}
			fair := clock / int64(len(costs))
			for i, m := range meters {
				if m.spent < fair*9/10 || m.spent > fair*11/10 {
					t.Errorf("source %d, whose batches cost %d, got %d; %d would be fair", i, m.cost, m.spent, fair)
				}
			}
		})
	}
}

// A hundred ports that flood a storm of broadcasts do not starve unicast between two others: the
// two get as much time as any of the hundred, and never wait for longer than it takes each of those
// to process one batch.
func TestStormDoesNotStarveUnicast(t *testing.T) {
	const storm, broadcasts, unicast = 100, 400_000, 3_000 // ports; nanoseconds for a batch
	var clock int64
	w := &worker{clock: func() int64 { return clock }}
	var meters []*meter
	for i := range storm + 2 {
		m := &meter{clock: &clock, cost: broadcasts, batch: MaxBatch}
		if i >= storm {
			m.cost = unicast
		}
		meters = append(meters, m)
		w.active = append(w.active, &entry{src: m, id: -1, port: new(portShare)})
	}
	for clock < 10e9 {
		w.round(clock)
	}
	fair := clock / int64(len(meters))
	for i, m := range meters[storm:] {
		if m.spent < fair*9/10 {
			t.Errorf("unicast source %d got %d, %d would be fair", i, m.spent, fair)
		}
		if most := int64(storm*broadcasts + 2*(share+unicast)); m.pause > most {
			t.Errorf("unicast source %d waited for %d, which is more than %d", i, m.pause, most)
		}
	}
}

// A flood is a meter whose batches are floods.
type flood struct{ meter }

func (f *flood) Flooding() bool { return true }

// However many ports flood, two others keep most of the time, if they need it; the ports that flood
// get the same time each, and all of it if nobody else has work.
func TestFloodsGetTheTimeOfOnePort(t *testing.T) {
	for _, others := range []int{0, 1, 2, 5} {
		const ports, cost = 100, 40_000
		var clock int64
		w := &worker{clock: func() int64 { return clock }}
		var floods []*flood
		for range ports {
			f := &flood{meter{clock: &clock, cost: cost, batch: MaxBatch / 4}}
			floods = append(floods, f)
			w.active = append(w.active, &entry{src: f, flooder: f, id: -1, port: new(portShare)})
		}
		var meters []*meter
		for range others {
			m := &meter{clock: &clock, cost: 2_000, batch: MaxBatch}
			meters = append(meters, m)
			w.active = append(w.active, &entry{src: m, id: -1, port: new(portShare)})
		}
		for clock < 1e8 {
			w.round(clock) // the first batches are not known to be floods
		}
		for _, m := range meters {
			m.pause = 0
		}
		for clock < 10e9 {
			w.round(clock)
		}
		fair := clock / int64(others+1)
		least, most, sum := clock, int64(0), int64(0)
		for _, f := range floods {
			least, most, sum = min(least, f.spent), max(most, f.spent), sum+f.spent
		}
		if sum < fair*7/10 || sum > fair*13/10 {
			t.Errorf("with %d others, floods got %d of %d, %d would be fair", others, sum, clock, fair)
		}
		if least < most*9/10 {
			t.Errorf("with %d others, ports that flood got from %d to %d", others, least, most)
		}
		for _, m := range meters {
			if m.spent < fair*7/10 {
				t.Errorf("one of %d others got %d, %d would be fair", others, m.spent, fair)
			}
			if most := int64(cost + 10*(others+1)*share); m.pause > most {
				t.Errorf("one of %d others waited for %d, more than %d", others, m.pause, most)
			}
		}
	}
}

// share is share, where that name is taken.

// A source whose batches are small is not polled more than once in a round.
func TestSmallBatchesAreNotRepeated(t *testing.T) {
	var clock int64
	w := &worker{clock: func() int64 { return clock }}
	a, b := &meter{clock: &clock, cost: 100, batch: MaxBatch - 1}, &meter{clock: &clock, cost: 100, batch: 1}
	w.active = []*entry{{src: a, id: -1, port: new(portShare)}, {src: b, id: -1, port: new(portShare)}}
	for range 1000 {
		w.round(clock)
	}
	if a.spent != b.spent || a.spent != 100*1000 {
		t.Errorf("%d and %d, want 100 for each of 1000 rounds", a.spent, b.spent)
	}
}

// A port with many sources gets the same time as a port with one, and its sources share that time.
func TestTimeIsSharedByPort(t *testing.T) {
	const many = 128
	for name, c := range map[string]struct {
		cost  int64 // of a batch of the port with many sources
		batch int   // 0: its polls find nothing
	}{
		"small frames": {3_000, MaxBatch},
		"large frames": {400_000, MaxBatch},
		"few frames":   {300, 1},
		"no frames":    {100, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var clock int64
			w := &worker{clock: func() int64 { return clock }}
			add := func(port *portShare, cost int64, batch int) *meter {
				m := &meter{clock: &clock, cost: cost, batch: batch}
				w.active = append(w.active, &entry{src: m, id: -1, port: port})
				return m
			}
			var greedy []*meter
			crowd := new(portShare)
			for range many {
				greedy = append(greedy, add(crowd, c.cost, c.batch))
			}
			modest := add(new(portShare), 3_000, MaxBatch)
			other := add(new(portShare), 3_000, MaxBatch)
			for clock < 1e9 {
				if _, now := w.round(clock); now != clock {
					t.Fatalf("round returned %d, but the time is %d", now, clock)
				}
			}
			var sum, least, most int64
			least = clock
			for _, m := range greedy {
				sum, least, most = sum+m.spent, min(least, m.spent), max(most, m.spent)
			}
			if fair := clock / 3; modest.spent < fair*9/10 || other.spent < fair*9/10 {
				t.Errorf("of %d, ports with one source got %d and %d, one with %d sources %d", clock, modest.spent, other.spent, many, sum)
			}
			if most-least > max(c.cost, share)*maxPolls {
				t.Errorf("sources of one port got from %d to %d", least, most)
			}
		})
	}
}
