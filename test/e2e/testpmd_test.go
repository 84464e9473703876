//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/test/logbuf"
	"vswitchd/test/station"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
	"vswitchd/vhostuser/vhostusertest"
)

// A testpmd is a DPDK testpmd process with two virtio-user ports, which takes commands.
type testpmd struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   logbuf.Buffer // what it says
}

// testpmdPort is one of its ports, connected to a port of the switch.
type testpmdPort struct {
	socket string
	mac    station.MAC

	options string // of the virtio-user device; "": it connects, and has rings of 1024
}

// newTestpmd starts testpmd and waits until it takes commands. It is gone, with all that it has
// left behind, when the test ends.
func newTestpmd(t *testing.T, ports []testpmdPort, args ...string) *testpmd {
	t.Helper()
	p := launchTestpmd(t, nil, ports, args...)
	p.do()
	return p
}

// launchTestpmd also takes options for DPDK's environment, and does not wait.
func launchTestpmd(t *testing.T, options []string, ports []testpmdPort, args ...string) *testpmd {
	t.Helper()
	return runTestpmdCommand(t, testpmdCommand(t, options, ports, args...))
}

// testpmdCommand is the command line that launchTestpmd runs, with huge pages for it.
func testpmdCommand(t *testing.T, options []string, ports []testpmdPort, args ...string) []string {
	t.Helper()
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	prefix := fmt.Sprintf("vswitchd-%d", os.Getpid())
	t.Cleanup(func() { os.RemoveAll("/var/run/dpdk/" + prefix) })
	eal := []string{
		"stdbuf", "-oL", filepath.Join(root, "build", "lab", "dpdk-testpmd"),
		"-l", "0,1", "--no-pci", "--no-telemetry", "--huge-dir", hugepages(t), "--single-file-segments", "--file-prefix", prefix,
	}
	eal = append(eal, options...)
	for i, p := range ports {
		device := cmp.Or(p.options, "server=0,queue_size=1024")
		eal = append(eal, "--vdev", fmt.Sprintf("net_virtio_user%d,path=%s,mac=%s,%s", i, p.socket, p.mac, device))
	}
	eal = append(eal, "--", "--interactive", "--no-lsc-interrupt", "--total-num-mbufs=32768")
	return append(eal, args...)
}

// runTestpmdCommand starts a command that becomes testpmd.
func runTestpmdCommand(t *testing.T, command []string) *testpmd {
	t.Helper()
	p := &testpmd{t: t, cmd: exec.Command(command[0], command[1:]...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("testpmd's output:\n%s", p.out.String())
		}
	})
	return p
}

// do has commands carried out, and returns what was said meanwhile.
func (p *testpmd) do(commands ...string) string {
	p.t.Helper()
	// It does not say when it has done something, except that it does not know a command.
	const end, answer = "done?", "Command not found"
	from := len(p.out.String())
	for _, c := range append(commands, end) {
		if _, err := io.WriteString(p.stdin, c+"\n"); err != nil {
			p.t.Fatalf("testpmd does not take %q: %v", c, err)
		}
	}
	swtest.Until(p.t, fmt.Sprintf("testpmd has done %q", commands), func() bool {
		if err := p.cmd.Process.Signal(syscall.Signal(0)); err != nil {
			p.t.Fatalf("testpmd has exited: %v", err)
		}
		return strings.Contains(p.out.String()[from:], answer)
	})
	return p.out.String()[from:]
}

// testpmdStats are a port's counters, as testpmd sees it.
type testpmdStats struct{ rx, missed, rxErrors, tx, txErrors uint64 }

var testpmdStatsText = regexp.MustCompile(`(?s)NIC statistics for port \d+ .*?` +
	`RX-packets: (\d+)\s+RX-missed: (\d+).*?RX-errors: (\d+).*?TX-packets: (\d+)\s+TX-errors: (\d+)`)

// stats returns the counters of both ports.
func (p *testpmd) stats() (stats [2]testpmdStats) {
	p.t.Helper()
	text := p.do("show port stats all")
	found := testpmdStatsText.FindAllStringSubmatch(text, -1)
	if len(found) != 2 {
		p.t.Fatalf("testpmd's statistics: %s", text)
	}
	for i, f := range found {
		s := &stats[i]
		for k, n := range []*uint64{&s.rx, &s.missed, &s.rxErrors, &s.tx, &s.txErrors} {
			var err error
			if *n, err = strconv.ParseUint(f[k+1], 10, 64); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	return stats
}

// quit ends testpmd in good order.
func (p *testpmd) quit() {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, "quit\n"); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("testpmd: %v", err)
	}
}

// hugepages has the kernel provide 512 MiB of huge pages until the test ends, and returns where
// they are mounted.
func hugepages(t *testing.T) (dir string) {
	t.Helper()
	release, err := vhostusertest.MoreHugePages(256)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	})
	dir, err = os.MkdirTemp("", "vswitchd-huge-")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "hugetlbfs", 0, "pagesize=2M"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		os.Remove(dir)
	})
	return dir
}
