// Vswitchd is an Ethernet switch for QEMU guests: each guest is connected to a vhost-user port, and
// an uplink connects the guests to a network interface of the host.
//
// It runs in the foreground and logs to standard error. SIGTERM and SIGINT stop it; SIGHUP makes it
// reload its configuration.
//
// If it is started with a connected socket (--fd), it ends when the front-end disconnects.
//
// Exit codes: 0 after a stop on request, or after the front-end of --fd has disconnected in order;
// 1 after a failure at run time, or if --check found errors; 2 for wrong usage or a wrong
// configuration.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/pflag"

	"vswitchd/internal/config/key"
	"vswitchd/internal/daemon"
	"vswitchd/internal/version"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func run(args []string, stdout, stderr io.Writer) int {
	// QEMU's convention for back-end programs: all other arguments are ignored, even invalid ones.
	if slices.Contains(args, "--print-capabilities") {
		fmt.Fprintln(stdout, capabilities)
		return exitOK
	}
	opts, err := parseFlags(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprint(stdout, help())
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "vswitchd: %v\nTry vswitchd --help.\n", err)
		return exitUsage
	case opts.version:
		fmt.Fprintln(stdout, version.Line("vswitchd"))
		return exitOK
	case opts.check:
		return check(opts, stdout, stderr)
	}
	reloads := catchReloads()
	opts.flags.Accounts = key.ReadAccounts()
	cfg, running, errs := daemon.Kinds().LoadRunning(opts.file, opts.flags)
	if len(errs) > 0 {
		fmt.Fprintln(stderr, errs)
		return exitUsage
	}
	return serve(opts, cfg, running, reloads, stderr)
}

// capabilities describes this program as VHostUserBackendCapabilities in
// QEMU's docs/interop/vhost-user.json.
const capabilities = `{"type":"net"}`

// check prints the errors and warnings of the configuration, and returns the exit code.
func check(opts *options, stdout, stderr io.Writer) int {
	cfg, errs := daemon.Kinds().Examine(opts.file, opts.flags)
	if cfg != nil {
		errs = errs.With(daemon.Check(cfg))
	}
	if len(errs) > 0 {
		fmt.Fprintln(stderr, errs)
		return exitFailed
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(stderr, "%v (warning)\n", w)
	}
	name := opts.file
	if name == "" {
		name = "the command line"
	}
	fmt.Fprintf(stdout, "%s: no errors\n", name)
	return exitOK
}
