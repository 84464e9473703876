//go:build e2e

package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vswitchd/bench/load"
	"vswitchd/test/vm"
)

// newLab makes a lab of what `make lab` gets, which is closed at the test's end.
func newLab(t *testing.T) *Lab {
	t.Helper()
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLab(filepath.Join(root, "build"), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// The back-ends that `make lab` gets move frames, and tell of drops and of work.
func TestBackEnds(t *testing.T) {
	const nrHugepages = "/proc/sys/vm/nr_hugepages"
	before, err := os.ReadFile(nrHugepages)
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	if err := l.HugePages(256); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]func(*Lab, Options) (BackEnd, error){"vswitchd": StartVswitchd, "DPDK vhost": StartBare} {
		t.Run(name, func(t *testing.T) {
			be, err := start(l, Options{Ports: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer be.Stop()
			if be.Name() != name {
				t.Errorf("its name is %s", be.Name())
			}
			// Front-ends may come and go.
			for range 2 {
				tryBackEnd(t, be)
			}
			tryGenerator(t, l, be)
		})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(nrHugepages); err != nil || string(after) != string(before) {
		t.Errorf("%s huge pages are left, %v; there were %s", after, err, before)
	}
}

// Frames cross the wire both ways, of every kind, by the back-ends that need nothing but what `make
// lab` gets.
func TestUplinks(t *testing.T) {
	l := newLab(t)
	for name, start := range map[string]func(*Lab, Options) (BackEnd, error){"vswitchd": StartVswitchd, "Linux bridge": StartBridge} {
		for _, offloads := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, offloads %t", name, offloads), func(t *testing.T) {
				be, err := start(l, Options{Ports: 1, Uplink: true, Offloads: offloads})
				if err != nil {
					t.Fatal(err)
				}
				defer be.Stop()
				tryWire(t, l, be, offloads)
			})
		}
	}
	w, err := l.Wire()
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.WireOf("other")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{w.NearNS(), w.FarNS(), other.NearNS(), other.FarNS()} {
		if exists("/run/netns/" + ns) {
			t.Errorf("namespace %s is left", ns)
		}
	}
}

// Guests at tap devices reach each other, with frames of any size, one after the other and several
// at a time.
func TestTaps(t *testing.T) {
	l := newLab(t)
	be, err := StartTaps(l, Options{Ports: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer be.Stop()
	pair, ok := TapPair(be)
	if !ok {
		t.Fatal("it has no guests at tap devices")
	}
	for _, size := range []int{64, 1500} {
		if err := pair.Prepare(size); err != nil {
			t.Fatal(err)
		}
		before, err := be.Usage()
		if err != nil {
			t.Fatal(err)
		}
		o, err := pair.Offer(5000, 0, 100*time.Millisecond)
		if err != nil || o.Received == 0 || o.Lost() != 0 || o.Wakes == 0 || uint64(o.Latency.Histogram.TotalCount()) > o.Received {
			t.Errorf("%d bytes: %d of %d frames arrived, %d timed, %d kicks, %v",
				size, o.Received, o.Sent, o.Latency.Histogram.TotalCount(), o.Wakes, err)
		}
		if p, err := pair.PingPong(20, 0); err != nil || p.Histogram.TotalCount() != 40 {
			t.Errorf("%d bytes: %d frames to and fro, %v", size, p.Histogram.TotalCount(), err)
		}
		if after, err := be.Usage(); err != nil || after.Done <= before.Done {
			t.Errorf("%d bytes: no processor time was used, %v", size, err)
		}
	}
}

func tryWire(t *testing.T, l *Lab, be BackEnd, offloads bool) {
	w, err := l.Wire()
	if err != nil {
		t.Fatal(err)
	}
	far, err := w.Far(offloads)
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	traffic := load.Traffic{Size: 1500, Flows: 10}
	if offloads {
		traffic = load.Traffic{Shape: load.GSO, Size: 65226, Flows: 10}
	}
	guest, end, err := Guest(be, load.Config{MaxFrame: traffic.Size, Offloads: offloads})
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	for _, inbound := range []bool{false, true} {
		line, err := load.NewLine(guest, far, traffic, inbound)
		if err != nil {
			t.Fatal(err)
		}
		if err := line.Check(1000); err != nil {
			t.Fatal(err)
		}
		r, err := line.Saturate(0, 50*time.Millisecond)
		if _, frames := r.Elapsed(); err != nil || r.Received == 0 || r.Received > r.Sent || frames > r.Received {
			t.Errorf("inbound %t: %+v, %v", inbound, r, err)
		}
	}
}

func tryBackEnd(t *testing.T, be BackEnd) {
	var ports []*load.Port
	defer func() {
		for _, p := range ports {
			p.Close()
		}
	}()
	for i := range 2 {
		p, err := be.Connect(i, load.Config{})
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, p)
	}
	g, err := load.NewGenerator(ports, load.Traffic{Size: 64, Flows: 10, Both: true})
	if err == nil {
		err = g.Announce()
	}
	if err != nil {
		t.Fatal(err)
	}
	drops, err := be.Drops()
	if err != nil {
		t.Fatal(err)
	}
	usage, err := be.Usage()
	if err != nil {
		t.Fatal(err)
	}
	c, err := g.Check(20_000)
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.Saturate(0, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	after, err := be.Drops()
	if lost := int64(c.Lost) + r.Lost(); err != nil || int64(after-drops) != lost || c.Received == 0 || r.Received == 0 {
		t.Errorf("%d frames are missing, %d were dropped, %v; %+v", lost, after-drops, err, c)
	}
	if u, err := be.Usage(); err != nil || u.Done <= usage.Done || u.PerSecond <= 0 {
		t.Errorf("usage %+v, %v; before %+v", u, err, usage)
	}
}

// tryGenerator has testpmd send through the back-end.
func tryGenerator(t *testing.T, l *Lab, be BackEnd) {
	g, err := StartGenerator(l, 1, be)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	for _, load := range []Load{FlowGen, ClosedLoop} {
		if err := g.Start(load, 64); err != nil { // returns when frames arrive
			t.Fatalf("%s: %v", load, err)
		}
		if pps, err := g.Measure(100 * time.Millisecond); err != nil || pps <= 0 {
			t.Errorf("%s: %v frames per second, %v", load, pps, err)
		}
		if err := g.Halt(); err != nil {
			t.Fatal(err)
		}
	}
}
