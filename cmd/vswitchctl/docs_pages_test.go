package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"vswitchd/internal/config"
)

// The pages for people who choose, install and run vswitchd, with what the examples in their code
// blocks begin with.
var pages = map[string]string{
	"getting-started.md": "", "from-tap-bridge.md": "", "comparison.md": "", "faq.md": "", "doctor.md": "",
	"operations.md": "[port.vm1]\n", "security.md": "[port.vm1]\nallowed_macs = [\"52:54:00:00:00:01\"]\n",
}

// inPages are the names in commands of these pages, with what there is in documented.
var inPages = []string{
	"port add vm1", "port add vm9", "uplink add lan", "uplink add wan", "doctor web", "doctor vm1", "doctor NAME", "doctor vm1", "trace tenant1", "trace vm1",
	"--dst MAC", "--dst 52:54:00:00:00:02",
}

// endless are first words of commands that do not end by themselves, or need what a test lacks.
var endless = []string{"--control", "capture", "top", "watch", "monitor"}

// fromPage is a command of a page as it can be run without waiting for a guest: without what the
// output goes to, and with a short look. It is nil for what waits for frames.
func fromPage(text string) []string {
	text, _, _ = strings.Cut(text, "|")
	text, _, _ = strings.Cut(text, "#")
	args := strings.Fields(strings.TrimSuffix(strings.TrimSpace(text), "\\"))
	if len(args) == 0 || slices.Contains(endless, args[0]) || slices.Contains(args, "--next") {
		return nil
	}
	if slices.Contains(args, "doctor") {
		args = append(args, "--interval", "100ms")
	}
	return args
}

// runs reports what is wrong with a command of a page. doctor may find something.
func (d *desk) runs(page string, args []string) {
	d.Helper()
	if out := d.run(args...); strings.Contains(out, "exit ") && !(slices.Contains(args, "doctor") && strings.Contains(out, "exit 4")) {
		d.Errorf("%s: vswitchctl %s: %s", page, strings.Join(args, " "), out)
	}
}

// The commands of the pages run: those in the text each by itself, those in code blocks one after
// the other.
func TestCommandsOfPagesRun(t *testing.T) {
	run, named := 0, newRoot(io.Discard)
	for page, begin := range pages {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inDocs.FindAllStringSubmatch(string(text), -1) {
			args := fromPage(strings.NewReplacer(inPages...).Replace(m[1]))
			if args == nil {
				continue
			}
			if cmd, rest, err := named.Find(args); err == nil && len(rest) == 0 && slices.Contains([]string{"add", "set", "del"}, cmd.Name()) {
				continue // only the name of a command
			}
			run++
			newDesk(t, documented, config.Flags{}).runs(page, args)
		}
		d := newDesk(t, "[control]\nsocket = \"$/control\"\n[switch]\nsocket_dir = \"$\"\n"+begin, config.Flags{})
		for line := range strings.Lines(string(text)) {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), "vswitchctl ")
			if args := fromPage(command); ok && args != nil {
				run++
				d.runs(page, args)
			}
		}
	}
	if run < 40 {
		t.Errorf("%d commands were run", run)
	}
}

// The configurations of the pages are valid.
func TestConfigurationsOfPagesAreValid(t *testing.T) {
	found := 0
	for page := range pages {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, more := strings.Cut(string(text), "```toml\n")
		for more {
			var block string
			block, rest, _ = strings.Cut(rest, "```")
			newDesk(t, "[control]\nsocket = \"$/control\"\n"+strings.Replace("[switch]\nsocket_dir = \"$\"\n"+block, "[switch]\n[switch]\n", "[switch]\n", 1), config.Flags{})
			found++
			_, rest, more = strings.Cut(rest, "```toml\n")
		}
	}
	if found == 0 {
		t.Error("no configuration was found")
	}
}
