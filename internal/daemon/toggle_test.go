package daemon

import (
	"sync/atomic"
	"testing"
	"time"

	"vswitchd/test/station"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// togglers are operations that a guest can repeat as fast as possible and that cost other ports
// throughput.
var togglers = map[string]func(f *vhostusertest.FrontEnd, i int) error{
	"ring enable":  func(f *vhostusertest.FrontEnd, i int) error { return f.EnableRing(f.Rings[0], i%2 == 0) },
	"memory table": func(f *vhostusertest.FrontEnd, _ int) error { return f.SetMemTable(f.Memory...) },
	"signals": func(f *vhostusertest.FrontEnd, _ int) error {
		return f.Do(vhostuser.SetVringCall, vhostuser.VringFile{}.AppendTo(nil), f.Rings[0].CallFD)
	},
	"announcements": func(f *vhostusertest.FrontEnd, i int) error {
		return f.Do(vhostuser.SendRARP, vhostuser.AppendU64(nil, uint64(i)<<8|2))
	},
	"restarts": func(f *vhostusertest.FrontEnd, i int) error {
		if i%2 == 1 {
			return f.StartRing(f.Rings[0])
		}
		_, err := f.StopRing(f.Rings[0])
		return err
	},
}

// The operations of a toggling guest are limited to the rate of its port, while two other guests
// exchange frames. The test checks the number of operations. It also logs the remaining throughput
// of the others, which it does not check.
func TestTogglingGuestAndItsNeighbours(t *testing.T) {
	for name, toggle := range togglers {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, "workers = 1\n[port.a]\nbcast_flood = false\n[port.b]\nbcast_flood = false\n[port.bad]\n")
			a, b := l.talk("a", "b")
			f, err := vhostusertest.Dial(l.socket("bad"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			l.must(f.Handshake(station.Features, station.ProtocolFeatures|1<<vhostuser.ProtocolFeatureRARP))
			mem, err := f.NewMemory(1 << 20)
			l.must(err)
			l.must(f.ShareMemory())
			for i := range 2 {
				r, err := f.NewRing(mem, i, 64, 64<<10)
				l.must(err)
				l.must(f.StartRing(r))
			}

			began := time.Now()
			var done atomic.Int64
			var quit, pause atomic.Bool
			ended := make(chan error, 1)
			go func() {
				for i := 0; !quit.Load(); i++ {
					for pause.Load() && !quit.Load() {
						time.Sleep(time.Millisecond)
					}
					if err := toggle(f, i); err != nil {
						ended <- err
						return
					}
					done.Add(1)
				}
				ended <- nil
			}()
			// The guest first uses up the burst that its port allows.
			l.until("the guest is slowed", func() bool { return l.port("bad").SlowedMessages > 50 })
			var loud, quiet, toggles float64
			const windows = 6
			for range windows {
				n, then := done.Load(), time.Now()
				loud += rate(a, b)
				toggles += float64(done.Load()-n) / time.Since(then).Seconds()
				pause.Store(true)
				quiet += rate(a, b)
				pause.Store(false)
			}
			quit.Store(true)
			l.must(<-ended)
			t.Logf("%.0f toggles a second leave others %.1f %% of their throughput", toggles/windows, 100*loud/quiet)

			const perSecond, saved = 500, 10
			if most := perSecond * (saved + time.Since(began).Seconds()); float64(done.Load()) > most {
				t.Errorf("%d toggles in %v, more than %.0f", done.Load(), time.Since(began), most)
			}
		})
	}
}

// rate measures how many requests a second two stations have answered.
func rate(a, b *station.Station) float64 {
	count := func() uint64 { return a.Answered() + b.Answered() }
	n, then := count(), time.Now()
	time.Sleep(150 * time.Millisecond)
	return float64(count()-n) / time.Since(then).Seconds()
}
