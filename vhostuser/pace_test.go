package vhostuser_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// toggles are actions that a front-end with a running ring can repeat, each of which makes the
// device, or something that depends on it, pause or change; most is the largest number to be
// processed in a second.
var toggles = map[string]struct {
	most int
	do   func(h *harness, mem *vhostusertest.Memory, r *vhostusertest.Ring, i int) error
}{
	"enable": {500, func(h *harness, _ *vhostusertest.Memory, r *vhostusertest.Ring, i int) error {
		return h.fe.EnableRing(r, i%2 == 0)
	}},
	"signal": {500, func(h *harness, _ *vhostusertest.Memory, r *vhostusertest.Ring, _ int) error {
		return h.fe.Do(vhostuser.SetVringCall, vhostuser.VringFile{}.AppendTo(nil), r.CallFD)
	}},
	"memory": {334, func(h *harness, mem *vhostusertest.Memory, _ *vhostusertest.Ring, _ int) error {
		return h.fe.SetMemTable(mem)
	}},
	"start": {500, func(h *harness, _ *vhostusertest.Memory, r *vhostusertest.Ring, _ int) error {
		return h.fe.Do(vhostuser.SetVringKick, vhostuser.VringFile{}.AppendTo(nil), r.KickFD)
	}},
	"status": {500, func(h *harness, _ *vhostusertest.Memory, _ *vhostusertest.Ring, i int) error {
		return h.fe.Do(vhostuser.SetStatus, u64(uint64(i%2)))
	}},
	"log of the used ring": {500, func(h *harness, _ *vhostusertest.Memory, r *vhostusertest.Ring, i int) error {
		return h.fe.LogRing(r, i%2 == 0)
	}},
	"channel": {500, func(h *harness, _ *vhostusertest.Memory, _ *vhostusertest.Ring, _ int) error {
		ch, err := h.fe.OpenChannel()
		if err == nil {
			ch.Close()
		}
		return err
	}},
	"announcement": {100, func(h *harness, _ *vhostusertest.Memory, _ *vhostusertest.Ring, i int) error {
		return h.fe.Do(vhostuser.SendRARP, u64(uint64(i)<<8|2))
	}},
	"configuration": {500, func(h *harness, _ *vhostusertest.Memory, _ *vhostusertest.Ring, _ int) error {
		return h.fe.SetConfig(0, make([]byte, 6), vhostuser.ConfigMigration)
	}},
	"record in flight": {334, func(h *harness, _ *vhostusertest.Memory, _ *vhostusertest.Ring, _ int) error {
		in, err := h.fe.GetInflight(1, 64)
		if err == nil {
			in.Close()
		}
		return err
	}},
}

// However fast a front-end repeats expensive messages, and whether or not it reconnects in between,
// no more are processed than the saved budget allows, and then the share of the time.
func TestTogglesAreTakenAtAPace(t *testing.T) {
	for name, c := range toggles {
		t.Run(name, func(t *testing.T) {
			var pace vhostuser.Pace
			began, total := time.Now(), 0
			for range 2 { // sessions
				dev := newFullDevice(2)
				h := serveWith(t, dev.device, dev, vhostuser.Options{Pace: &pace})
				mem := h.negotiate(allVirtio, everyProto)
				r := h.ring(mem, 0)
				h.must(h.fe.StartRing(r))
				for slowed := pace.Slowed(); pace.Slowed() < slowed+20; total++ {
					if total > 50_000 {
						t.Fatalf("%d times at once", total)
					}
					h.must(c.do(h, mem, r, total))
				}
				h.fe.Close()
				_ = h.wait()
			}
			const saved = 10 // seconds
			if most := float64(c.most) * (saved + time.Since(began).Seconds()); float64(total) > most {
				t.Errorf("%d times in %v, more than %.0f", total, time.Since(began), most)
			}
		})
	}
}

// A session whose message is delayed ends at once when it is cancelled.
func TestPaceDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pace vhostuser.Pace
		s := vhostuser.NewPaced(&pace)
		for range 1000 { // the largest budget that can be saved up
			_ = s.Take(t.Context(), vhostuser.SendRARP)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Microsecond, errEnough)
		defer cancel()
		if err := s.Take(ctx, vhostuser.SendRARP); !errors.Is(err, errEnough) {
			t.Errorf("waiting ended with %v", err)
		}
	})
}

var errEnough = errors.New("enough")

// A front-end that starts the largest possible number of rings, and stops and starts them again, is
// not delayed; nor is one that then kicks by messages.
func TestPaceDoesNotDelayHonestFrontEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pace vhostuser.Pace
		s := vhostuser.NewPaced(&pace)
		take := func(times int, messages ...vhostuser.Request) {
			for range times {
				for _, r := range messages {
					_ = s.Take(t.Context(), r)
				}
			}
		}
		for range 2 {
			take(128, vhostuser.SetFeatures, vhostuser.AddMemReg)
			take(256, vhostuser.SetVringNum, vhostuser.SetVringBase, vhostuser.SetVringAddr, vhostuser.SetVringKick,
				vhostuser.SetVringCall, vhostuser.SetVringEnable, vhostuser.GetVringBase)
			time.Sleep(3 * time.Second) // no guest boots faster
		}
		for range 100_000 {
			time.Sleep(50 * time.Microsecond)
			take(1, vhostuser.VringKick)
		}
		if n := pace.Slowed(); n != 0 {
			t.Errorf("%d messages were delayed", n)
		}
	})
}

// Unused budget is saved up, but not without limit.
func TestPaceOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pace vhostuser.Pace
		s := vhostuser.NewPaced(&pace)
		const toggle = vhostuser.SetVringEnable
		atOnce := func(want int) {
			t.Helper()
			n, start := -1, time.Now()
			for ; time.Since(start) == 0; n++ {
				_ = s.Take(t.Context(), toggle)
			}
			if n != want {
				t.Errorf("%d messages at once, want %d", n, want)
			}
		}
		atOnce(5000)
		start := time.Now()
		for range 1000 {
			_ = s.Take(t.Context(), toggle)
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("1000 more take %v", d)
		}
		time.Sleep(time.Second)
		atOnce(500)
		time.Sleep(time.Hour)
		atOnce(5000)
	})
}
