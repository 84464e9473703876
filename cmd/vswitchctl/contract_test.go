package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"vswitchd/internal/config"
)

// A promise is what a command must keep: arguments with which it succeeds on the switch of the
// documents, and arguments that are refused.
type promise struct {
	succeeds string // "-": it does not end, or prints no answer of vswitchd, or has another exit code
	refused  string // "-": nothing that can be asked for is refused
}

// promises has all commands. A command that is not here makes the test fail.
var promises = map[string]promise{
	"show": {"", "-"}, "version": {"", "-"}, "reload": {"", "-"}, "top": {"-n 1 -i 100ms", "-"},
	"completion": {"-", "-"}, "help": {"-", "-"},
	"doctor":  {"-", "vm9"}, // finds something there; TestDoctorExitCodes has the rest
	"capture": {"-", "vm9 -w /dev/null"}, "capture show": {"", "-"}, "capture stop": {"-", "99"},
	"trace":     {"vm1 --dst 52:54:00:00:00:02", "vm9 --dst 52:54:00:00:00:02"},
	"port show": {"vm1", "vm9"}, "port add": {"vm7 tag=5", "vm1"}, "port set": {"vm1 tag=5", "vm9 tag=5"}, "port del": {"vm3", "vm9"},
	"uplink show": {"", "-"}, "uplink add": {"wan interface=nolink1", "lan"}, "uplink set": {"lan isolated=true", "vm1 isolated=true"}, "uplink del": {"lan", "vm1"},
	"host show": {"", "-"}, "host add": {"vswdoc0", "vm1"}, "host set": {"-", "vm1 mtu=1400"}, "host del": {"-", "vm1"},
	"vlan show": {"", "-"}, "vlan add": {"vm2 40", "vm3 40"}, "vlan del": {"vm2 10", "vm2 99"},
	"fdb show": {"", "--port vm9"}, "fdb add": {"52:54:00:00:00:99 vm1", "52:54:00:00:00:99 vm9"}, "fdb del": {"-", "52:54:00:00:00:98"}, "fdb flush": {"", "--port vm9"},
	"mdb show": {"", "-"}, "mdb add": {"239.1.1.1 vm1", "239.1.1.1 vm9"}, "mdb del": {"-", "239.1.1.1 vm2"},
	"neigh show": {"", "-"}, "neigh add": {"10.0.0.9 52:54:00:00:00:01", "10.0.0.1 52:54:00:00:00:01"}, "neigh del": {"10.0.0.1", "10.0.0.7"},
	"mirror show": {"", "-"}, "mirror add": {"m2 select_src=vm2 output=vm3", "m1 select_src=vm2 output=vm3"}, "mirror set": {"m1 select_dst=vm2", "m9 select_dst=vm2"}, "mirror del": {"m1", "m9"},
	"filter show": {"web", "wbe"}, "filter add": {"more default=drop", "web"}, "filter set": {"web default=accept", "wbe default=accept"}, "filter del": {"web", "wbe"},
	"filter rule add": {"web more action=drop", "web arp action=drop"}, "filter rule set": {"web arp action=drop", "web apr action=drop"},
	"filter rule replace": {"web arp action=drop", "web apr action=drop"}, "filter rule del": {"web arp", "web apr"},
	"set show": {"admins", "admin"}, "set add": {"admins 10.9.0.1", "admin 10.9.0.1"}, "set del": {"admins 10.0.0.0/24", "admins 10.9.0.1"},
	"set create": {"more 80", "admins 80"}, "set destroy": {"admins", "admin"},
	"switch set": {"mac_aging_time=9s", "mac_aging_time=never"}, "log set": {"level=debug", "level=debgu"},
	"config show": {"", "-"}, "config save": {"", "-"}, "state export": {"", "-"}, "upgrade": {"-", "/nonexistent"}, "stats show": {"vm1", "vm9"}, "stats reset": {"vm1", "vm9"}, "monitor": {"-", "vm9"},
}

// leaves calls do for each command that does something, with its words.
func leaves(cmd *cobra.Command, words []string, do func(cmd *cobra.Command, words []string)) {
	if len(words) > 0 && !(cmd.HasSubCommands() && cmd.Use == cmd.Name()) {
		do(cmd, words)
	}
	for _, sub := range cmd.Commands() {
		leaves(sub, append(words[:len(words):len(words)], sub.Name()), do)
	}
}

func ctl(socket string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(append([]string{"--control", socket}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// Every command prints one JSON value with -j, and has the exit codes 1, 2 and 3 for what is
// refused, wrong usage and no daemon, with the reason on standard error and nothing on standard
// output.
func TestEveryCommandKeepsThePromises(t *testing.T) {
	leaves(newRoot(io.Discard), nil, func(cmd *cobra.Command, words []string) {
		name := strings.Join(words, " ")
		p, ok := promises[name]
		if !ok {
			t.Errorf("vswitchctl %s: the test has no arguments for this command", name)
			return
		}
		with := func(args string, more ...string) []string {
			return append(append(append([]string{}, words...), strings.Fields(args)...), more...)
		}
		if p.succeeds != "-" {
			d := newDesk(t, documented, config.Flags{})
			checkJSON(t, name, d.socket, with(p.succeeds, "-j"))
			os.Remove(d.socket) // so that the rest of the test does not find the switch
			fails(t, d.socket, exitNoDaemon, p.succeeds == "" && name == "version", with(p.succeeds)...)
		}
		if p.refused != "-" {
			d := newDesk(t, documented, config.Flags{})
			fails(t, d.socket, exitFailed, false, with(p.refused)...)
			fails(t, d.socket, exitFailed, false, with(p.refused, "-j")...)
		}
		fails(t, "/nobody", exitUsage, false, with("", "--no-such-flag")...)
		fails(t, "/nobody", exitUsage, false, with("", "--color=no-such-color")...)
	})
}

// checkJSON requires one JSON value on standard output.
func checkJSON(t *testing.T, name, socket string, args []string) {
	t.Helper()
	code, stdout, stderr := ctl(socket, args...)
	if code != exitOK || !json.Valid([]byte(stdout)) || strings.Contains(stdout, "\x1b") {
		t.Errorf("vswitchctl %s: exit code %d, not one JSON value: %s%s", name, code, stdout, stderr)
	}
}

// fails requires that a command fails with a code, and says why on standard error alone.
func fails(t *testing.T, socket string, want int, succeeds bool, args ...string) {
	t.Helper()
	code, stdout, stderr := ctl(socket, args...)
	if succeeds {
		want = exitOK
	}
	if code != want || want != exitOK && (stdout != "" || !strings.HasPrefix(stderr, "vswitchctl: ")) {
		t.Errorf("vswitchctl %s: exit code %d, want %d; standard output %q, standard error %q", strings.Join(args, " "), code, want, stdout, stderr)
	}
}
