package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"

	"vswitchd/internal/config"
)

// manual returns the manual page of the program.
func manual() string {
	return string(md2man.Render(fmt.Appendf(nil, `vswitchd 8 "" vswitchd "System administration"
===

# NAME
vswitchd - an Ethernet switch for virtual machines

# SYNOPSIS
**vswitchd** [*flags*]

# DESCRIPTION
vswitchd connects QEMU guests to each other and to network interfaces of the host. Each guest has a
port, a unix socket to which QEMU connects (**-chardev socket** and **-netdev vhost-user**). Guests
must have shared memory (**share=on**).

vswitchd runs in the foreground and logs to standard error. Flags add to the configuration file, which
vswitchd.toml(5) describes.

# FLAGS
%s

# SIGNALS
**SIGHUP** reloads the configuration: all of it takes effect, or nothing. **SIGTERM** and **SIGINT**
stop vswitchd.

# EXIT STATUS
0 after a stop on request, or after the front-end of **--fd** has disconnected in order; 1 after a
failure at run time, or if **--check** found errors; 2 after wrong usage or a wrong configuration.

# FILES
%s: the configuration, if it exists and no other is named

/run/vswitchd/control.sock: the control socket, which vswitchctl(8) uses

# SEE ALSO
vswitchctl(8), vswitchd.toml(5), qemu-system(1)
`, "```\n"+strings.Trim(newFlagSet(&options{}).FlagUsages(), "\n")+"\n```", config.DefaultFile)))
}

var (
	// generated matches the paragraph that says how the reference is made.
	generated = regexp.MustCompile(`(?s)\n\nThis page and .*? regenerates both\.\n`)
	link      = regexp.MustCompile(`\[([^\]]+)\]\([^)]*\)`)
	// row matches the row of a key: its name, type, default, when a change takes effect, and text.
	row = regexp.MustCompile("^\\| `([^`]+)` \\| (.*) \\| (.*) \\| (.*) \\| (.*) \\|$")
)

// fileManual returns the manual page of the configuration file, made from the reference: a table is
// too wide for a terminal.
func fileManual(reference string) string {
	var b strings.Builder
	b.WriteString("vswitchd.toml 5 \"\" vswitchd \"File formats\"\n===\n\n# NAME\nvswitchd.toml - configuration of vswitchd\n\n# DESCRIPTION\n")
	_, reference, _ = strings.Cut(generated.ReplaceAllString(reference, "\n"), "\n")
	for line := range strings.Lines(link.ReplaceAllString(reference, "$1")) {
		line = strings.TrimSuffix(line, "\n")
		if cell := row.FindStringSubmatch(line); cell != nil {
			fmt.Fprintf(&b, "**%s** (%s; default %s; %s)\n:   %s\n\n", cell[1], cell[2], cell[3], cell[4], cell[5])
		} else if !strings.HasPrefix(line, "|") {
			b.WriteString(line + "\n")
		}
	}
	b.WriteString("\n# SEE ALSO\nvswitchd(8), vswitchctl(8)\n")
	return string(md2man.Render([]byte(b.String())))
}
