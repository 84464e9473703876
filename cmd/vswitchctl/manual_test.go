package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// docs/man/vswitchctl.8 is the one generated from the commands.
func TestManualIsUpToDate(t *testing.T) {
	const file = "../../docs/man/vswitchctl.8"
	want := string(md2man.Render([]byte(manual())))
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s differs from the commands; regenerate it with go test ./cmd/vswitchctl -run Manual -update\n%s", file, diff)
	}
}

// manual returns the manual page in Markdown.
func manual() string {
	root := newRoot(io.Discard)
	var b strings.Builder
	fmt.Fprintf(&b, `vswitchctl 8 "" vswitchd "System administration"
===

# NAME
vswitchctl - %s

# SYNOPSIS
**vswitchctl** [*flags*] *command* [*arguments*]

# DESCRIPTION
vswitchctl prints what vswitchd(8) answers on its control socket: tables for people and, with **-j**,
the JSON of the control API for programs.

# COMMON FLAGS
%s
# COMMANDS
`, lower(root.Short), block(root.PersistentFlags().FlagUsages()))
	section(&b, root)
	b.WriteString(`# OUTPUT
Tables are as wide as the terminal at most: columns that do not fit are shortened or left out, and
**-j** has everything. What is no terminal is taken for one of 80 columns.

# ENVIRONMENT
**COLUMNS**: the width of tables where standard output is no terminal.

**NO_COLOR**: if set, there are no colors with **--color auto**. There are none either if **TERM** is
dumb, and if standard output is no terminal.

# EXIT STATUS
0 after success; 1 if the request was refused or failed, with the reason on standard error; 2 after
wrong usage; 3 if no vswitchd is running; 4 if **doctor** has found errors or warnings.

# SEE ALSO
vswitchd(8), vswitchd.toml(5)
`)
	return b.String()
}

// section writes a section for each command below cmd.
func section(b *strings.Builder, cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		if sub.Hidden || sub.Name() == "help" {
			continue
		}
		if sub.HasSubCommands() {
			section(b, sub)
			if sub.Use == sub.Name() { // a group
				continue
			}
		}
		fmt.Fprintf(b, "## %s\n%s.\n\n", strings.TrimSuffix(sub.UseLine(), " [flags]"), sub.Short)
		if sub.Long != "" {
			b.WriteString(block(sub.Long))
		}
		if sub.HasExample() {
			b.WriteString(block(sub.Example))
		}
		if sub.HasAvailableLocalFlags() {
			b.WriteString(block(sub.LocalFlags().FlagUsages()))
		}
	}
}

// block returns text as it is, in a block of code.
func block(text string) string {
	return "```\n" + strings.Trim(text, "\n") + "\n```\n\n"
}

func lower(s string) string { return strings.ToLower(s[:1]) + s[1:] }
