//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/internal/rates"
	"vswitchd/test/child"
	"vswitchd/test/swtest"
)

// trafficSite is a switch with pings between two uplinks until the test ends.
func trafficSite(t *testing.T) *swtest.Switch {
	here, a, b := swtest.NewNetns(t), swtest.NewNetns(t), swtest.NewNetns(t)
	swtest.NewVeth(t, here, "nic0", a, "far0")
	swtest.NewVeth(t, here, "nic1", b, "far1")
	a.Run(t, "ip", "addr", "add", "10.0.0.1/24", "dev", "far0")
	b.Run(t, "ip", "addr", "add", "10.0.0.2/24", "dev", "far1")
	s := swtest.Start(t, here, "loop_detection = false\n[port.vm1]\n"+twoUplinks)
	s.WaitState(t, "lan", control.StateRunning)
	s.WaitState(t, "wan", control.StateRunning)
	ping, err := child.Start(a.Command("ping", "-q", "-i", "0.02", "10.0.0.2"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ping.Kill)
	return s
}

func topOf(t *testing.T, s *swtest.Switch, args ...string) *exec.Cmd {
	program := filepath.Join(filepath.Dir(swtest.Program(t)), "vswitchctl")
	return exec.Command(program, append([]string{"--control", s.ControlSocket(), "top", "-i", "200ms"}, args...)...)
}

// passes returns whether a line of the table is of a port, with frames in both directions.
func passes(line, port string) bool {
	words := strings.Fields(line)
	return len(words) == 7 && words[0] == port && words[2] != "0" && words[2] != "-" && words[4] != "0" && words[4] != "-"
}

// TestTopOnATerminal: rates are on the screen, keys and changes of the size work, and vswitchd may
// be restarted.
func TestTopOnATerminal(t *testing.T) {
	s := trafficSite(t)
	x := startOnTerminal(t, topOf(t, s), 80, 24)
	has := func(test func(line string) bool) func([]string) bool {
		return func(lines []string) bool {
			for _, line := range lines {
				if test(line) {
					return true
				}
			}
			return false
		}
	}
	x.waitFor(t, "the rates of lan", has(func(line string) bool { return passes(line, "lan") }))
	x.waitText(t, "3 ports, 2 running")
	x.waitText(t, "vm1    listening")

	x.keys(t, "/wa\r")
	x.waitFor(t, "only wan is there", func(lines []string) bool {
		text := strings.Join(lines, "\n")
		return strings.Contains(text, "filter wa") && has(func(line string) bool { return passes(line, "wan") })(lines) && !strings.Contains(text, "vm1")
	})
	x.keys(t, "?")
	x.waitText(t, "scroll by one screen")
	x.keys(t, "?\x1b")
	x.waitText(t, "vm1    listening")

	x.resize(t, 40, 15)
	x.waitFor(t, "the table is narrow", func(lines []string) bool {
		text := strings.Join(lines, "\n")
		return !strings.Contains(text, "FR/S") && strings.Contains(text, "DROP/S") && strings.HasPrefix(lines[14], "q quit")
	})
	x.resize(t, 120, 30)
	x.waitText(t, "DROPS BY REASON")

	s.Kill()
	x.waitText(t, "vswitchd is not running")
	s.Launch(t)
	x.waitText(t, "vswitchd has been restarted")
	x.waitFor(t, "the rates of lan again", has(func(line string) bool {
		words := strings.Fields(line)
		return len(words) > 2 && words[0] == "lan" && words[1] == "uplink" && words[3] != "-" && words[3] != "0"
	}))
	x.keys(t, "q")
	x.ends(t, 0)
}

// TestTopRestoresTheTerminal: however top ends, the terminal is as before.
func TestTopRestoresTheTerminal(t *testing.T) {
	s := swtest.Start(t, swtest.NewNetns(t), "[port.vm1]\n")
	for name, end := range map[string]func(x *terminal){
		"Ctrl-C":    func(x *terminal) { x.keys(t, "\x03") },
		"SIGINT":    func(x *terminal) { _ = x.process.Signal(syscall.SIGINT) },
		"SIGTERM":   func(x *terminal) { _ = x.process.Signal(syscall.SIGTERM) },
		"SIGHUP":    func(x *terminal) { _ = x.process.Signal(syscall.SIGHUP) },
		"the count": nil,
	} {
		t.Run(name, func(t *testing.T) {
			var args []string
			if end == nil {
				args = []string{"-n", "3"}
			}
			x := startOnTerminal(t, topOf(t, s, args...), 80, 24)
			if end != nil {
				x.waitText(t, "q quit")
				end(x)
			}
			x.ends(t, 0)
		})
	}
}

// TestTopForPrograms: with -j there is a JSON object for each interval, with the rates that there
// are, and a restart of vswitchd is reported on standard error.
func TestTopForPrograms(t *testing.T) {
	s := trafficSite(t)
	cmd := topOf(t, s, "-j", "an")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var messages strings.Builder
	cmd.Stderr = &messages
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	untilTraffic := func() {
		for lines.Scan() {
			var i rates.Interval
			if err := json.Unmarshal(lines.Bytes(), &i); err != nil {
				t.Fatalf("%v: %s", err, lines.Text())
			}
			if len(i.Ports) != 2 || i.Seconds <= 0 || len(i.Workers) == 0 {
				t.Fatalf("%s", lines.Text())
			}
			r := i.Ports[0].Rates
			if r != nil && r.RxFrames > 0 && r.TxFrames > 0 && r.RxBits >= 8*64*r.RxFrames && i.Totals.RxFrames >= r.RxFrames {
				return
			}
		}
		t.Fatal("there was no traffic")
	}
	untilTraffic()
	s.Kill()
	s.Launch(t)
	untilTraffic()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if !strings.Contains(messages.String(), "vswitchd has been restarted") {
		t.Errorf("standard error: %s", &messages)
	}
}
