package main

import (
	"bytes"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"vswitchd/internal/config"
)

// completions returns what the shell offers behind words, the last of which is not complete.
func completions(t *testing.T, socket string, words ...string) (list []string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(append([]string{"__complete", "--control", socket}, words...), &stdout, &stderr); code != exitOK {
		t.Fatalf("%q: exit code %d: %s", words, code, stderr.String())
	}
	for line := range strings.Lines(stdout.String()) {
		word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !strings.HasPrefix(word, ":") {
			list = append(list, word)
		}
	}
	return list
}

// Names come from the running vswitchd, keys from their declarations.
func TestCompletion(t *testing.T) {
	desk := newDesk(t, `
[switch]
socket_dir = "$"
[port.vm1]
[port.vm2]
[mirror.m1]
select_src = ["vm1"]
output = "vm2"
`, config.Flags{})
	for _, tt := range []struct {
		words string // a _ is an empty word
		want  string // among what is offered; "": nothing is
		other string // not among that
	}{
		{"_", "port fdb completion", "vm1"},
		{"port _", "show add set del", "vm1"},
		{"port show _", "vm1 vm2", "show"},
		{"port show vm1 _", "", ""},
		{"port add _", "", ""},
		{"port set vm1 _", "tag= socket=", "interface="},
		{"port set vm1 tag=1 _", "trunks=", "interface="},
		{"port set _", "vm1", "m1"},
		{"mirror set _", "m1", "vm1"},
		{"mirror set m1 _", "output=", "socket="},
		{"uplink set _", "", ""},
		{"switch set _", "mac_aging_time=", "tag="},
		{"fdb add 52:54:00:00:00:01 _", "vm1 vm2", ""},
		{"fdb show --port _", "vm1 vm2", ""},
		{"capture _", "vm1 vm2 show", ""},
		{"top _", "vm1 vm2", ""},
		{"top --sort _", "rx-bits drops", "reasons"},
		{"show --color _", "auto always never", ""},
		{"stats reset _", "vm1 vm2", "show"},
		{"monitor _", "vm1 vm2", "fdb"},
		{"monitor vm1 _", "", ""},
		{"monitor --kind _", "fdb session", "vm1"},
		{"monitor --kind fdb,_", "fdb,session", "fdb,fdb"},
		{"completion _", "bash zsh fish", "powershell"},
	} {
		got := completions(t, desk.socket, strings.Split(strings.ReplaceAll(tt.words, "_", ""), " ")...)
		for _, want := range strings.Fields(tt.want) {
			if !slices.Contains(got, want) {
				t.Errorf("%s: %q is missing among %q", tt.words, want, got)
			}
		}
		if tt.want == "" && len(got) > 0 || tt.other != "" && slices.Contains(got, tt.other) {
			t.Errorf("%s: %q", tt.words, got)
		}
	}
}

// No command's arguments make completion fail.
func TestCompletionOfEveryCommand(t *testing.T) {
	socket := newDesk(t, "", config.Flags{}).socket
	var walk func(cmd *cobra.Command, words []string)
	walk = func(cmd *cobra.Command, words []string) {
		for n := range 5 {
			completions(t, socket, slices.Concat(words, slices.Repeat([]string{"x"}, n), []string{""})...)
		}
		for _, sub := range cmd.Commands() {
			walk(sub, append(slices.Clone(words), sub.Name()))
		}
	}
	walk(newRoot(io.Discard), nil)
}

// Without a vswitchd there are no names, and no error that the shell would print.
func TestCompletionWithoutDaemon(t *testing.T) {
	if got := completions(t, t.TempDir()+"/none", "port", "show", ""); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

// The scripts are such that their shells can read them, those that are here.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var script, stderr bytes.Buffer
		if code := run([]string{"completion", shell}, &script, &stderr); code != exitOK || script.Len() == 0 {
			t.Fatalf("%s: exit code %d: %s", shell, code, stderr.String())
		}
		if path, err := exec.LookPath(shell); err == nil {
			cmd := exec.Command(path, "-n")
			cmd.Stdin = &script
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", shell, err, out)
			}
		}
	}
}
