//go:build e2e && long

package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vswitchd/test/station"
	"vswitchd/test/swtest"
	"vswitchd/virtqueue"
)

// TestTwoHundredTakeovers has one vswitchd after another take over 64 guests, with split and packed
// rings, who all talk to each other as fast as they can. None of them may miss a frame, or get one
// twice or out of order. The distribution of the pauses is logged.
func TestTwoHundredTakeovers(t *testing.T) {
	const guests, rounds = 64, 200
	config := "loop_detection = false\nworkers = 2\n"
	for i := range guests {
		config += fmt.Sprintf("[port.g%d]\nmac = \"%s\"\n", i, station.Addr(byte(i+1))) // so that nothing is flooded
	}
	s := swtest.Start(t, nil, config)
	stations := make([]*station.Station, guests)
	for i := range stations {
		cfg := station.Config{MAC: station.Addr(byte(i + 1))}
		if i%2 == 1 {
			cfg.Features = 1 << virtqueue.FeatureRingPacked
		}
		var err error
		if stations[i], err = station.Connect(s.Socket(fmt.Sprintf("g%d", i)), cfg); err != nil {
			t.Fatal(err)
		}
	}
	for i, a := range stations {
		a.Talk(stations[(i+1)%guests].MAC(), 32)
		a.Talk(stations[(i+7)%guests].MAC(), 8)
	}
	for _, a := range stations {
		a.Start()
	}
	check := func(round int) {
		t.Helper()
		for _, a := range stations {
			if err := a.Err(); err != nil {
				t.Fatalf("after %d rounds: %v", round, err)
			}
		}
	}
	for round := range rounds {
		if err := stations[round%guests].Await(100); err != nil {
			t.Fatalf("after %d rounds: %v", round, err)
		}
		s.TakeOver(t)
		check(round)
	}
	for _, a := range stations {
		if err := a.Await(100); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range stations {
		if err := a.Drain(); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range stations {
		if err := a.Leave(); err != nil {
			t.Fatal(err)
		}
	}
	logPauses(t, s.Log(), rounds)
}

// logPauses logs the distribution of the pauses in the log of vswitchd.
func logPauses(t *testing.T, log string, rounds int) {
	var pauses []time.Duration
	for line := range strings.Lines(log) {
		m := regexp.MustCompile(` taken over: .* for=(\S+)`).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		d, err := time.ParseDuration(m[1])
		if err != nil {
			t.Fatal(err)
		}
		pauses = append(pauses, d)
	}
	if len(pauses) != rounds {
		t.Fatalf("%d takeovers are in the log, there were %d", len(pauses), rounds)
	}
	slices.Sort(pauses)
	at := func(percent int) time.Duration {
		return pauses[(len(pauses)-1)*percent/100].Round(10 * time.Microsecond)
	}
	t.Logf("pauses of %d takeovers: median %v, 90 %% within %v, 99 %% within %v, the longest %v", rounds, at(50), at(90), at(99), at(100))
}
