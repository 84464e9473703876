//go:build e2e && long

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// guestCommands are commands of vswitchctl, in an order in which each has what it needs. The guests
// are at ports a and b, and ping each other meanwhile.
var guestCommands = []string{
	"show", "port show", "port show a", "stats show", "stats show b", "version", "reload",
	"port add c trunks=9", "port set c max_macs=5 egress_rate=10M", "vlan add c 10", "vlan show", "vlan del c 10",
	"port set a egress_rate=1G", "port set a --unset egress_rate",
	"uplink add lan interface=nolink0", "uplink set lan trunks=7-9", "uplink show", "uplink del lan",
	"host add vswcmd0", "host set vswcmd0 tag=9", "host show", "host del vswcmd0",
	"fdb show", "fdb show --port a", "fdb add 52:54:00:00:00:99 c", "fdb del 52:54:00:00:00:99", "fdb flush --port c",
	"mdb add 239.1.1.1 c", "mdb show", "mdb del 239.1.1.1 c",
	"neigh add 10.0.0.77 52:54:00:00:00:77", "neigh show", "neigh del 10.0.0.77",
	"filter add f default=accept", "filter rule add f icmp action=count proto=icmp", "port set a ingress_filter=f",
	"filter rule set f icmp src=10.0.0.0/8", "filter rule replace f icmp action=count proto=icmp", "filter show", "filter show f",
	"filter set f default=accept", "filter rule del f icmp", "port set a --unset ingress_filter", "filter del f",
	"set create s 10.0.0.1", "set add s 10.0.0.2", "set del s 10.0.0.2", "set show", "set show s", "set destroy s",
	"mirror add m select_src=a output=c", "mirror set m select_dst=b", "mirror show", "mirror del m",
	"port del c", "switch set mac_aging_time=200s", "log set level=info",
	"config show", "config show --diff", "config save", "config show --diff",
	"trace a --ip-src 10.0.0.1 --ip-dst 10.0.0.2 --proto icmp", "trace a --next icmp", "doctor --interval 100ms", "doctor a --interval 100ms",
	"state export", "top -b -n 1", "capture show", "capture a -c 5 -w FILE icmp", "stats reset a", "stats reset", "stats show --total",
	"completion bash",
}

// otherCommands are commands that the test runs by itself, and help.
var otherCommands = []string{"monitor", "capture stop", "upgrade", "help"}

// TestEveryCommandWithGuests runs every command of vswitchctl while two guests talk, who do not
// notice; what has no side effects is run with -j, too.
func TestEveryCommandWithGuests(t *testing.T) {
	ctx := testContext(t)
	s := swtest.Start(t, nil, "[sandbox]\nkeep_for = [\"uplink\", \"host\"]\n[port.a]\n[port.b]\n")
	guests := vm.StartAll(t, guestConfig(s, vm.QEMU10, "a", 1), guestConfig(s, vm.QEMU10, "b", 2))
	mustPing(t, ctx, guests[0], "10.0.0.2")
	checkCommandsAreComplete(t, s)
	before := map[string]control.Counters{"a": s.Port(t, "a").Counters, "b": s.Port(t, "b").Counters}

	pinging, stop := context.WithCancel(ctx)
	done := make(chan error)
	go func() {
		for pinging.Err() == nil {
			if r, err := guests[0].PingAll(ctx, "10.0.0.2", "-c", "50", "-i", "0.02"); err != nil || r.Received != r.Sent {
				t.Errorf("ping: %+v, %v", r, err)
				break
			}
		}
		done <- nil
	}()
	file := filepath.Join(t.TempDir(), "capture.pcapng")
	for _, line := range guestCommands {
		args := strings.Fields(strings.ReplaceAll(line, "FILE", file))
		command(t, s, args...)
		if slices.Contains(args, "show") || args[0] == "doctor" || args[0] == "version" {
			if out := command(t, s, append(args, "-j")...); !json.Valid(out) {
				t.Errorf("vswitchctl %s -j prints %s", line, out)
			}
		}
	}
	stopCapture(t, s)
	stop()
	<-done
	for port, was := range before {
		if c := s.Port(t, port).Counters; c.Reconnects != 0 || !maps.Equal(c.Drops, was.Drops) {
			t.Errorf("port %s: %+v", port, c)
		}
	}
}

// command runs vswitchctl, and returns what it prints. doctor may find something, such as a machine
// that is busy.
func command(t *testing.T, s *swtest.Switch, args ...string) []byte {
	t.Helper()
	cmd := ctl(t, s, args...)
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); err != nil && (args[0] != "doctor" || code != 4) {
		t.Fatalf("vswitchctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// stopCapture begins a capture that does not end by itself, and ends it by a command.
func stopCapture(t *testing.T, s *swtest.Switch) {
	t.Helper()
	c := startCapture(t, s, "a")
	list := s.Captures(t)
	s.Ctl(t, "capture", "stop", fmt.Sprint(list[len(list)-1].ID))
	<-c.process.Exited()
	if code := c.process.State().ExitCode(); code != 0 {
		t.Errorf("a capture that was stopped has exited with %d: %s", code, c.stderr)
	}
}

// checkCommandsAreComplete fails for a command below words that is not in the lists above.
func checkCommandsAreComplete(t *testing.T, s *swtest.Switch, words ...string) {
	t.Helper()
	help := s.Ctl(t, append(slices.Clone(words), "--help")...)
	_, text, isGroup := strings.Cut(help, "\nAvailable Commands:\n")
	name := strings.Join(words, " ")
	if !isGroup && !slices.ContainsFunc(slices.Concat(guestCommands, otherCommands), func(line string) bool {
		return line == name || strings.HasPrefix(line, name+" ")
	}) {
		t.Errorf("vswitchctl %s is not run", name)
	}
	for lines := bufio.NewScanner(strings.NewReader(text)); isGroup && lines.Scan() && lines.Text() != ""; {
		checkCommandsAreComplete(t, s, append(slices.Clone(words), strings.Fields(lines.Text())[0])...)
	}
}
