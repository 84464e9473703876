package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vswitchd/internal/config"
)

// inDocs matches a command in code font.
var inDocs = regexp.MustCompile("`vswitchctl ([^`]+)`")

// Every command that a document names exists, and has the flags that the document gives it.
func TestDocumentsNameCommandsThatExist(t *testing.T) {
	root := newRoot(io.Discard)
	found := 0
	for _, pattern := range []string{"../../*.md", "../../docs/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range inDocs.FindAllStringSubmatch(string(text), -1) {
				found++
				command, _, _ := strings.Cut(m[1], "| tcpdump")
				if problem := check(root, strings.Fields(command)); problem != "" {
					t.Errorf("%s: vswitchctl %s: %s", file, m[1], problem)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("%d commands were found in documents", found)
	}
	for _, wrong := range []string{"shwo", "port shwo NAME", "fdb show --prt NAME", "port"} {
		if check(root, strings.Fields(wrong)) == "" {
			t.Errorf("vswitchctl %s is taken for a command", wrong)
		}
	}
}

// check says what is wrong with a command: its words are those of a command, followed by arguments
// and flags, some of them in brackets. A command that only contains others has no flags.
func check(root *cobra.Command, words []string) string {
	cmd := root
	for len(words) > 0 {
		sub := subcommand(cmd, words[0])
		if sub == nil {
			break
		}
		cmd, words = sub, words[1:]
	}
	if cmd.HasSubCommands() && !cmd.LocalNonPersistentFlags().HasFlags() && !(cmd == root && len(words) > 0 && strings.HasPrefix(words[0], "-")) {
		return "no such command"
	}
	for _, word := range words {
		word = strings.Trim(word, "[]")
		if strings.HasPrefix(word, "-") && word != "-h" && flagNamed(cmd, strings.TrimLeft(word, "-")) == nil {
			return "no such flag as " + word
		}
	}
	return ""
}

func subcommand(cmd *cobra.Command, name string) *cobra.Command {
	for _, sub := range cmd.Commands() {
		if sub.Name() == name {
			return sub
		}
	}
	return nil
}

func flagNamed(cmd *cobra.Command, name string) *pflag.Flag {
	if len(name) == 1 {
		if f := cmd.Flags().ShorthandLookup(name); f != nil {
			return f
		}
		return cmd.Root().PersistentFlags().ShorthandLookup(name)
	}
	if f := cmd.Flags().Lookup(name); f != nil {
		return f
	}
	return cmd.Root().PersistentFlags().Lookup(name)
}

// documented is a configuration in which the commands of documents can be run.
const documented = `[control]
socket = "$/control"
[switch]
socket_dir = "$"
mcast_snooping = true
[port.vm1]
mtu = 1500
[port.vm2]
trunks = [10, 30]
[port.vm3]
tag = 7
[port.probe]
[uplink.lan]
interface = "nolink0"
[filter.web]
default = "drop"
rules = [{ name = "arp", action = "accept", ethertype = "arp" }]
[set.admins]
addresses = ["10.0.0.0/24"]
[mirror.m1]
select_src = ["vm1"]
output = "probe"
[[neigh]]
ip = "10.0.0.1"
mac = "52:54:00:00:00:01"
`

// meant are examples for the placeholders of commands; those that begin with a command are for that
// command.
var meant = []string{
	"port del NAME...", "port del vm3", "port del NAME", "port del vm3", "rule set FILTER RULE [KEY=VALUE]...", "rule set web arp action=drop",
	"uplink add NAME", "uplink add wan", "uplink del NAME", "uplink del lan", "port add NAME", "port add new", "host add NAME", "host add vswdoc0",
	"set create NAME", "set create more", "set destroy NAME...", "set destroy admins", "mirror add NAME", "mirror add more", "filter add NAME", "filter add more",
	"port set NAME trunks", "port set vm1 trunks", "vlan add NAME", "vlan add vm2", "vlan del NAME", "vlan del vm2", "vlan add PORT VLAN", "vlan add vm2 40", "vlan del PORT VLAN", "vlan del vm2 10",
	"rule add FILTER RULE KEY=VALUE...", "rule add web more action=drop", "FILTER RULE KEY=VALUE...", "web arp action=drop", "FILTER RULE", "web arp",
	"neigh add IP", "neigh add 10.0.0.9", "IP", "10.0.0.1", "switch set [KEY=VALUE]...", "switch set poll=0s",
	"add MAC PORT", "add 52:54:00:00:00:99 vm1", "MAC", "52:54:00:00:00:99", "PORT", "vm1", "[KEY=VALUE]...", "tag=5", "KEY=true", "hairpin=true", "NAME...", "vm1", "NAME", "vm1",
	"[ENTRY]...", "10.1.0.0/16", "[--first]", "--first", "-h", "--help",
}

// before are commands without which another one has nothing to do.
var before = map[string]string{
	"fdb del": "fdb add 52:54:00:00:00:99 vm1 --vlan 7", "mdb del": "mdb add 239.1.1.1 vm1 --vlan 7",
}

// The commands in the pages about changes do what they are documented for.
func TestDocumentedCommandsRun(t *testing.T) {
	root, run, skipped := newRoot(io.Discard), 0, 0
	for _, file := range []string{"../../docs/bridge.md", "../../docs/changing.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inDocs.FindAllStringSubmatch(string(text), -1) {
			line := strings.NewReplacer(meant...).Replace(m[1])
			if cmd, args, err := root.Find(strings.Fields(line)); err == nil && len(args) == 0 && slices.Contains([]string{"add", "set", "del"}, cmd.Name()) {
				skipped++ // only the name of a command
				continue
			}
			d := newDesk(t, documented, config.Flags{})
			for prefix, first := range before {
				if strings.HasPrefix(line, prefix) {
					d.run(strings.Fields(first)...)
				}
			}
			run++
			if out := d.run(strings.Fields(line)...); strings.Contains(out, "exit ") {
				t.Errorf("%s: vswitchctl %s, run as %s: %s", file, m[1], line, out)
			}
		}
	}
	if run < 40 || skipped > run {
		t.Errorf("%d commands were run, %d skipped", run, skipped)
	}
}

// The examples in code blocks run as they are, one after the other.
func TestDocumentedExamplesRun(t *testing.T) {
	run := 0
	for _, file := range []string{"../../docs/changing.md", "../../README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := newDesk(t, strings.NewReplacer("[port.vm3]\ntag = 7\n", "").Replace(documented), config.Flags{})
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			command, ok := strings.CutPrefix(line, "vswitchctl ")
			if !ok {
				continue
			}
			run++
			if strings.HasPrefix(command, "top") {
				command = "top -n 1 -i 100ms" // which ends
			}
			d.runs(file, strings.Fields(command))
		}
	}
	if run < 10 {
		t.Errorf("%d examples were run", run)
	}
}
