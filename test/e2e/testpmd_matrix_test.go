//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/test/swtest"
)

// A pmdCell is a virtio-user device of testpmd, with a choice of all of its options that matter to
// a back-end.
type pmdCell struct {
	port                               string
	queues                             int
	server                             bool // testpmd listens; vswitchd connects
	mrgRxbuf, packed, inOrder, vectors bool
}

func onOff(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// options are those of the device.
func (c *pmdCell) options() string {
	o := fmt.Sprintf("server=%s,mrg_rxbuf=%s,packed_vq=%s,in_order=%s,vectorized=%s,queue_size=256", onOff(c.server), onOff(c.mrgRxbuf),
		onOff(c.packed), onOff(c.inOrder), onOff(c.vectors))
	if c.queues > 1 {
		o += fmt.Sprintf(",queues=%d,cq=1", c.queues)
	}
	return o
}

// A pmdGroup is the cells of one testpmd process. It wants the same number of queues, and the same
// biggest frame, of all its ports.
type pmdGroup struct {
	queues           int
	server, mrgRxbuf bool
}

func (g pmdGroup) String() string {
	return fmt.Sprintf("queues %d, server %s, mrg_rxbuf %s", g.queues, onOff(g.server), onOff(g.mrgRxbuf))
}

func (g pmdGroup) cells() (cells []*pmdCell) {
	for i := range 8 {
		cells = append(cells, &pmdCell{
			port: fmt.Sprintf("p%d", i), queues: g.queues, server: g.server, mrgRxbuf: g.mrgRxbuf,
			packed: i&4 != 0, inOrder: i&2 != 0, vectors: i&1 != 0,
		})
	}
	return cells
}

// sizes are those of the frames sent to a group's ports, in bytes; 0 stands for frames of many
// sizes.
func (g pmdGroup) sizes() []int {
	if g.mrgRxbuf {
		return []int{64, 1500, 9000, 0}
	}
	return []int{64, 1500, 0}
}

// TestTestpmdMatrix crosses the options of DPDK's virtio driver. Stations send frames of each size
// to each port, which come back with their addresses swapped, and look at every one: all must come
// back, to whom they belong, in order, and as they were sent. What was negotiated follows from the
// options and from what vswitchd offers.
func TestTestpmdMatrix(t *testing.T) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 1, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "queues\tserver\tmrg\tpacked\tin_order\tvectorized\t| ring\tmrg\tin order\tDPDK's receive\tits transmit\tqueues used rx,tx\t| 64\t1500\t9000\tmixed\t")
	for _, queues := range []int{1, 4} {
		for _, server := range []bool{false, true} {
			for _, mrg := range []bool{false, true} {
				g := pmdGroup{queues, server, mrg}
				t.Run(g.String(), func(t *testing.T) {
					for _, row := range runPMDGroup(t, g) {
						fmt.Fprintln(w, row)
					}
				})
			}
		}
	}
	w.Flush()
	t.Logf("asked for | negotiated, as vswitchd and DPDK say | frames of each size that came back as they were sent:\n%s", &table)
}

func runPMDGroup(t *testing.T, g pmdGroup) (rows []string) {
	cells := g.cells()
	own, devices := g.config(cells)
	first := own + devices
	if g.server {
		first = own
	}
	s := swtest.Start(t, nil, first)
	offers := offered(t, s, "o")

	o, err := station.Connect(s.Socket("o"), station.Config{MAC: station.Addr(200), Observer: true})
	if err != nil {
		t.Fatal(err)
	}
	o.Start()
	pmd := launchPMDGroup(t, s, g, cells)
	if g.server {
		// From now on attempts to connect succeed, which otherwise come ever more rarely.
		swtest.Until(t, "testpmd listens", func() bool {
			_, err := os.Lstat(s.Socket(cells[0].port))
			return err == nil
		})
		s.Configure(t, own+devices)
		s.Signal(t, syscall.SIGHUP)
		swtest.Until(t, "vswitchd has the ports", func() bool { return len(s.Info(t).Ports) == len(cells)+len(g.sizes())+1 })
	}
	pmd.do()
	for _, c := range cells {
		s.WaitState(t, c.port, control.StateRunning)
	}
	stations := startPMDStations(t, s, g, cells)
	t.Cleanup(func() {
		for i, c := range cells {
			if !t.Failed() {
				return
			}
			t.Logf("%s (%s): %+v", c.port, c.options(), s.Port(t, c.port))
			for k, st := range stations {
				t.Logf("%d frames of size %d came back", st.AnsweredBy(station.Addr(byte(i))), g.sizes()[k])
			}
		}
	})
	for _, st := range stations {
		swtest.Until(t, "frames come back from every port", func() bool {
			if err := st.Err(); err != nil {
				t.Fatal(err)
			}
			for i := range cells {
				if st.AnsweredBy(station.Addr(byte(i))) < pmdFrames {
					return false
				}
			}
			return true
		})
	}
	for _, st := range stations {
		if err := st.Drain(); err != nil {
			t.Fatal(err)
		}
	}

	text, most := pmd.out.String(), 0
	for i, c := range cells {
		p := s.Port(t, c.port)
		c.negotiated(t, p, offers)
		rows = append(rows, c.row(p, text, i, g, stations))
		receiveqs, _ := usedQueues(p)
		most = max(most, receiveqs)
	}
	if g.queues > 1 && most == 1 {
		t.Errorf("no port has received on more than one queue: flows are not spread")
	}
	if n := o.Received(); n != 0 {
		t.Errorf("%d frames went to somebody else", n)
	}
	pmd.do("stop")
	pmd.quit()
	for i, c := range cells {
		c.account(t, s, i, stations)
	}
	for _, st := range append(stations, o) {
		if err := st.Leave(); err != nil {
			t.Error(err)
		}
	}
	return rows
}

// pmdFrames is how many frames of each size have to come back from each port.
const pmdFrames = 1000

// config is the configuration for the stations, and that for testpmd's ports.
func (g pmdGroup) config(cells []*pmdCell) (own, devices string) {
	for i, size := range g.sizes() {
		own += fmt.Sprintf("[port.s%d]\nmac = %q\n", size, station.Addr(byte(100+i)))
	}
	own += fmt.Sprintf("[port.o]\nmac = %q\nflood = false\n", station.Addr(200))
	for i, c := range cells {
		devices += fmt.Sprintf("[port.%s]\nqueues = %d\nmac = %q\n", c.port, c.queues, station.Addr(byte(i)))
		if c.server {
			devices += "mode = \"client\"\n"
		}
	}
	return own, devices
}

func launchPMDGroup(t *testing.T, s *swtest.Switch, g pmdGroup, cells []*pmdCell) *testpmd {
	var ports []testpmdPort
	for i, c := range cells {
		ports = append(ports, testpmdPort{s.Socket(c.port), station.Addr(byte(i)), c.options()})
	}
	args := []string{
		"--port-topology=loop", "--forward-mode=macswap", "--auto-start",
		fmt.Sprintf("--rxq=%d", g.queues), fmt.Sprintf("--txq=%d", g.queues),
	}
	if g.mrgRxbuf {
		// 0x2000 is RTE_ETH_RX_OFFLOAD_SCATTER, 0x8000 RTE_ETH_TX_OFFLOAD_MULTI_SEGS.
		args = append(args, "--max-pkt-len=9018", "--rx-offloads=0x2000", "--tx-offloads=0x8000")
	}
	// Without the first option DPDK has no vectors for packed rings, and the second has it say how
	// it receives and transmits.
	eal := []string{"--force-max-simd-bitwidth=512", "--log-level=pmd.net.virtio.*:info"}
	return launchTestpmd(t, eal, ports, args...)
}

func startPMDStations(t *testing.T, s *swtest.Switch, g pmdGroup, cells []*pmdCell) (stations []*station.Station) {
	for i, size := range g.sizes() {
		c := station.Config{MAC: station.Addr(byte(100 + i)), Ring: 256}
		// All windows together fit into a testpmd port's ring, where the longest frames take five
		// buffers each.
		window := 16
		switch {
		case size > 0:
			c.Lengths = []int{size}
		case g.mrgRxbuf:
			c.Lengths = []int{60, 9014, 1514, 2048, 64, 4096, 2176, 6001, 128}
		}
		if size == 0 || size > 1514 {
			window = 8
		}
		st, err := station.Connect(s.Socket(fmt.Sprintf("s%d", size)), c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range cells {
			st.Talk(station.Addr(byte(i)), window)
		}
		st.Start()
		stations = append(stations, st)
	}
	return stations
}

// negotiated compares what port show says was negotiated with what should be.
func (c *pmdCell) negotiated(t *testing.T, p control.PortDetail, offers []string) {
	t.Helper()
	for name, asked := range map[string]bool{"RING_PACKED": c.packed, "MRG_RXBUF": c.mrgRxbuf, "IN_ORDER": c.inOrder, "MQ": c.queues > 1} {
		// Only ports with several queues offer them, and o is none.
		want := asked && (name == "MQ" || slices.Contains(offers, name))
		if got := slices.Contains(p.Features, name); got != want {
			t.Errorf("%s (%s): %s: negotiated %v, want %v: %v", c.port, c.options(), name, got, want, p.Features)
		}
	}
	format := "split"
	if slices.Contains(p.Features, "RING_PACKED") {
		format = "packed"
	}
	for _, r := range p.Rings {
		if r.Format != format || r.Size != 256 {
			t.Errorf("%s: ring %d is %s and has %d descriptors", c.port, r.Index, r.Format, r.Size)
		}
	}
	if p.Queues != c.queues {
		t.Errorf("%s: %d queue pairs, want %d", c.port, p.Queues, c.queues)
	}
}

func (c *pmdCell) row(p control.PortDetail, text string, i int, g pmdGroup, stations []*station.Station) string {
	receiveqs, transmitqs := usedQueues(p)
	row := fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%s\t%s\t%v\t%v\t%s\t%s\t%d,%d", c.queues, onOff(c.server), onOff(c.mrgRxbuf), onOff(c.packed),
		onOff(c.inOrder), onOff(c.vectors), p.Rings[0].Format, slices.Contains(p.Features, "MRG_RXBUF"), slices.Contains(p.Features, "IN_ORDER"),
		pmdPath(text, "Rx", i), pmdPath(text, "Tx", i), receiveqs, transmitqs)
	for _, size := range []int{64, 1500, 9000, 0} {
		row += "\t"
		if at := slices.Index(g.sizes(), size); at >= 0 {
			row += strconv.FormatUint(stations[at].AnsweredBy(station.Addr(byte(i))), 10)
		}
	}
	return row + "\t"
}

// usedQueues are how many of a port's queues frames went through.
func usedQueues(p control.PortDetail) (receiveqs, transmitqs int) {
	for _, r := range p.Rings {
		switch {
		case r.Used&0x7fff == 0: // the top bit may be a packed ring's wrap counter
		case r.Index%2 == 0:
			receiveqs++
		default:
			transmitqs++
		}
	}
	return receiveqs, transmitqs
}

// pmdPath is what DPDK says of how a port receives, or transmits.
func pmdPath(text, direction string, port int) string {
	all := regexp.MustCompile(fmt.Sprintf(`using (.*) %s path on port %d\b`, direction, port)).FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return "?"
	}
	return all[len(all)-1][1]
}

// account compares the counters of a port with what the stations have seen.
func (c *pmdCell) account(t *testing.T, s *swtest.Switch, i int, stations []*station.Station) {
	t.Helper()
	var n uint64
	for _, st := range stations {
		n += st.AnsweredBy(station.Addr(byte(i)))
	}
	p := s.Port(t, c.port)
	if got := p.Counters; got.TxFrames != n || got.RxFrames != n || got.Drops.Total() != 0 {
		t.Errorf("%s (%s): %d frames came back; counters %+v", c.port, c.options(), n, got)
	}
	if p.LastError != "" {
		t.Errorf("%s (%s): the port has the error %q", c.port, c.options(), p.LastError)
	}
}
