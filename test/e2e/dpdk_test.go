//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/test/swtest"
)

// Ports p0 and p1 are for testpmd; o is for somebody who listens; d is for a station. Every frame
// is accounted for, so the switch sends no probes.
const dpdkConfig = `
loop_detection = false
[port.p0]
mac = "52:54:00:00:00:01"
[port.p1]
mac = "52:54:00:00:00:02"
[port.o]
mac = "52:54:00:00:00:03"
flood = false
[port.d]
mac = "52:54:00:00:00:04"
`

// dpdkLab starts a switch with testpmd at p0 and p1 and an observer at o.
func dpdkLab(t *testing.T, args ...string) (*swtest.Switch, *testpmd, *station.Station) {
	s := swtest.Start(t, nil, dpdkConfig)
	o, err := station.Connect(s.Socket("o"), station.Config{MAC: station.Addr(3), Observer: true})
	if err != nil {
		t.Fatal(err)
	}
	o.Start()
	pmd := newTestpmd(t, []testpmdPort{{s.Socket("p0"), station.Addr(1), ""}, {s.Socket("p1"), station.Addr(2), ""}}, args...)
	for _, port := range []string{"p0", "p1", "o"} {
		s.WaitState(t, port, control.StateRunning)
	}
	return s, pmd, o
}

// TestTestpmd has DPDK's virtio driver send as much as it can, and accounts for every frame.
//
// In mode mac, frames go to and fro between testpmd's ports, each to the address of the other: 256
// of them in each direction. In mode flowgen each port sends all that the ring takes. (Its frames
// have the same source and the same destination address on either port, so they are frames to an
// unknown address from a station that moves all the time: they are flooded. Port o, which does not
// want such frames, must get none.)
func TestTestpmd(t *testing.T) {
	s, pmd, o := dpdkLab(t,
		"--eth-peer=0,"+station.Addr(2).String(), "--eth-peer=1,"+station.Addr(1).String())
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "mode\tsize\tframe\tMpps\tGbit/s\tframes\tring full\t")
	for _, mode := range []string{"flowgen", "mac"} {
		for _, size := range []int{64, 1500} {
			t.Run(fmt.Sprintf("%s %d bytes", mode, size), func(t *testing.T) {
				r := runTestpmd(t, s, pmd, mode, size)
				fmt.Fprintf(w, "%s\t%d\t%d\t%.2f\t%.2f\t%d\t%d\t\n",
					mode, size, r.bytes, r.pps/1e6, r.pps*float64(r.bytes)*8/1e9, r.frames, r.full)
				if n := o.Received(); n != 0 {
					t.Errorf("%d frames went to somebody else", n)
				}
			})
		}
	}
	w.Flush()
	t.Logf("both directions together:\n%s", &table)
	pmd.quit()
	for _, port := range []string{"p0", "p1"} {
		s.WaitState(t, port, control.StateListening)
		if e := s.Port(t, port).LastError; e != "" {
			t.Errorf("after testpmd has quit, port %s has the error %q", port, e)
		}
	}
	if err := o.Leave(); err != nil {
		t.Error(err)
	}
}

type testpmdResult struct {
	pps          float64
	bytes        uint64 // of a frame; testpmd's flowgen counts the checksum that nobody sends to its size
	frames, full uint64
}

// runTestpmd forwards in a mode for a while, stops, and compares counters.
func runTestpmd(t *testing.T, s *swtest.Switch, pmd *testpmd, mode string, size int) (r testpmdResult) {
	counters := func() (c [2]control.Counters) {
		return [2]control.Counters{s.Port(t, "p0").Counters, s.Port(t, "p1").Counters}
	}
	start := "start"
	if mode == "mac" {
		start = "start tx_first 8" // bursts of 32
	}
	before, began := counters(), time.Now()
	pmd.do("set fwd "+mode, fmt.Sprintf("set txpkts %d", size), start)
	const enough = 500_000
	swtest.Until(t, "frames are switched", func() bool {
		c := counters()
		return c[0].TxFrames > before[0].TxFrames+enough && c[1].TxFrames > before[1].TxFrames+enough
	})
	c := counters()
	r.frames = c[0].TxFrames + c[1].TxFrames - before[0].TxFrames - before[1].TxFrames
	r.pps = float64(r.frames) / time.Since(began).Seconds()
	pmd.do("stop")

	// What is in the rings still has to be taken from them, by either side.
	sent := pmd.stats()
	swtest.Until(t, "vswitchd has taken all that testpmd has sent", func() bool {
		c = counters()
		return c[0].RxFrames >= sent[0].tx && c[1].RxFrames >= sent[1].tx
	})
	pmd.do("set fwd rxonly", "start")
	var got [2]testpmdStats
	swtest.Until(t, "testpmd has taken all that vswitchd has sent", func() bool {
		got = pmd.stats()
		return got[0].rx >= c[0].TxFrames && got[1].rx >= c[1].TxFrames
	})
	pmd.do("stop")

	got, c = pmd.stats(), counters()
	for i := range c {
		other := c[1-i]
		full := other.Drops["ring-full"]
		r.full += full - before[1-i].Drops["ring-full"]
		switch {
		case c[i].RxFrames != got[i].tx || c[i].TxFrames != got[i].rx:
			t.Errorf("port %d: testpmd has sent %d frames and received %d; vswitchd received %d and sent %d",
				i, got[i].tx, got[i].rx, c[i].RxFrames, c[i].TxFrames)
		case c[i].RxFrames != other.TxFrames+full:
			t.Errorf("port %d: %d frames were received, %d sent to the other, %d dropped there", i, c[i].RxFrames, other.TxFrames, full)
		case got[i].missed+got[i].rxErrors+got[i].txErrors != 0:
			t.Errorf("port %d: testpmd has errors: %+v", i, got[i])
		case c[i].Drops.Total() != c[i].Drops["ring-full"]:
			t.Errorf("port %d: drops %v", i, c[i].Drops)
		}
		frames, bytes := c[i].RxFrames-before[i].RxFrames, c[i].RxBytes-before[i].RxBytes
		r.bytes = bytes / frames
		if bytes%frames != 0 || r.bytes != uint64(size) && r.bytes != uint64(size)-4 {
			t.Errorf("port %d: %d bytes in %d frames of one size, %d", i, bytes, frames, size)
		}
	}
	return r
}

// TestTestpmdReturnsFrames sends numbered frames with checksums to DPDK's virtio driver, which
// sends each back with its addresses swapped, and looks at every one.
func TestTestpmdReturnsFrames(t *testing.T) {
	s, pmd, o := dpdkLab(t, "--port-topology=loop", "--forward-mode=macswap")
	pmd.do("start")
	d, err := station.Connect(s.Socket("d"), station.Config{MAC: station.Addr(4)})
	if err != nil {
		t.Fatal(err)
	}
	d.Talk(station.Addr(1), 64)
	d.Talk(station.Addr(2), 64)
	d.Start()
	if err := d.Await(50_000); err != nil {
		t.Fatal(err)
	}
	if err := d.Drain(); err != nil {
		t.Fatal(err)
	}
	n := d.Answered()
	t.Logf("%d frames of 60 to 1514 bytes came back as they were sent, in order", n)
	if c := s.Port(t, "d").Counters; c.RxFrames != n || c.TxFrames != n || len(c.Drops) != 0 {
		t.Errorf("%d frames; counters %+v", n, c)
	}
	if got := d.Received(); got != n {
		t.Errorf("%d frames came, %d were answers", got, n)
	}
	if got := o.Received(); got != 0 {
		t.Errorf("%d frames went to somebody else", got)
	}
	pmd.do("stop")
	pmd.quit()
	for _, s := range []*station.Station{d, o} {
		if err := s.Leave(); err != nil {
			t.Error(err)
		}
	}
}
