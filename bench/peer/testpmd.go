package peer

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"vswitchd/bench/load"
	"vswitchd/test/logbuf"
)

// A testpmd is a DPDK testpmd process, which takes commands.
type testpmd struct {
	*process
	stdin io.WriteCloser
	out   logbuf.Buffer // what it says
}

// startTestpmd starts testpmd on a processor, with one forwarding core, and waits until it takes
// commands. env are options of DPDK's environment, args testpmd's own.
func startTestpmd(l *Lab, cpu int, name string, env, args []string) (*testpmd, error) {
	t := &testpmd{}
	// Its main core, which waits for commands, and its forwarding core share a processor.
	eal := []string{"-oL", filepath.Join(l.Build, "lab", "dpdk-testpmd"),
		"--lcores", fmt.Sprintf("0@%d,1@%d", cpu, cpu), "--no-pci", "--no-telemetry", "--in-memory"}
	eal = append(append(eal, env...), "--", "--interactive", "--total-num-mbufs=65536")
	cmd := exec.Command("stdbuf", append(eal, args...)...)
	cmd.Stdout = &t.out
	var err error
	if t.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if t.process, err = l.startOn(cpu, 0, name, cmd); err != nil {
		return nil, err
	}
	if _, err := t.do(); err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// do has commands carried out, and returns what was said meanwhile.
func (t *testpmd) do(commands ...string) (string, error) {
	// It does not say when it has done something, except that it does not know a command.
	const end, answer = "done?", "Command not found"
	from := len(t.out.String())
	for _, c := range append(commands, end) {
		if _, err := io.WriteString(t.stdin, c+"\n"); err != nil {
			return "", fmt.Errorf("testpmd does not take %q: %w\n%s%s", c, err, t.out.String(), t.tail())
		}
	}
	err := t.await(fmt.Sprintf("%q is done", commands), func() bool { return strings.Contains(t.out.String()[from:], answer) })
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, t.out.String())
	}
	return t.out.String()[from:], err
}

// bare is testpmd with vhost ports, which it joins in pairs.
type bare struct{ *testpmd }

// StartBare starts DPDK's vhost library without a switch: testpmd that hands each frame from port 0
// to port 1 and back, unseen.
func StartBare(l *Lab, o Options) (BackEnd, error) {
	if o.Ports%2 != 0 {
		return nil, errors.New("testpmd joins ports in pairs")
	}
	queues := strconv.Itoa(max(o.Queues, 1))
	var env []string
	for i := range o.Ports {
		dev := fmt.Sprintf("net_vhost%d,iface=%s,queues=%s,client=0", i, barePort(l, i), queues)
		if o.Offloads {
			dev += ",tso=1,legacy-ol-flags=1"
		}
		env = append(env, "--vdev", dev)
	}
	t, err := startTestpmd(l, l.CPU, "testpmd", env, []string{"--forward-mode=io", "--nb-cores=1", "--rxq=" + queues, "--txq=" + queues})
	if err != nil {
		return nil, fmt.Errorf("bare DPDK vhost: %w", err)
	}
	if _, err := t.do("set record-core-cycles on", "start"); err != nil {
		t.stop()
		return nil, err
	}
	return &bare{t}, nil
}

func barePort(l *Lab, i int) string { return filepath.Join(l.Dir, fmt.Sprintf("d%d", i)) }

func (b *bare) Name() string { return "DPDK vhost" }
func (b *bare) Stop()        { b.stop() }

func (b *bare) Socket(port int) (path string, listens bool) { return barePort(b.lab, port), true }

func (b *bare) Connect(port int, cfg load.Config) (*load.Port, error) {
	return load.Dial(barePort(b.lab, port), cfg)
}

var (
	bareCycles = regexp.MustCompile(`CPU cycles/packet=.*\(total cycles=(\d+).*at (\d+) MHz`)
	bareDrops  = regexp.MustCompile(`TX-dropped: (\d+)`)
)

// Usage is in cycles of rounds that had frames.
func (b *bare) Usage() (u Usage, err error) {
	out, err := b.do("show fwd stats all")
	if err != nil {
		return u, err
	}
	f := bareCycles.FindStringSubmatch(out)
	if f == nil {
		return u, fmt.Errorf("testpmd's statistics: %s", out)
	}
	mhz, _ := strconv.ParseFloat(f[2], 64)
	u.Done, _ = strconv.ParseFloat(f[1], 64)
	u.PerSecond = mhz * 1e6
	return u, nil
}

// Busy implements BackEnd.
func (b *bare) Busy() (Usage, error) { return b.Usage() }

func (b *bare) Drops() (n uint64, err error) {
	out, err := b.do("show fwd stats all")
	if err != nil {
		return 0, err
	}
	_, totals, ok := strings.Cut(out, "Accumulated forward statistics for all ports")
	f := bareDrops.FindStringSubmatch(totals)
	if !ok || f == nil {
		return 0, fmt.Errorf("testpmd's statistics: %s", out)
	}
	return strconv.ParseUint(f[1], 10, 64)
}
