package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"vswitchd/internal/config"
	"vswitchd/internal/usage"
)

// options are the parsed command line.
type options struct {
	file    string // configuration file; "": none
	check   bool
	version bool

	takeover bool
	flags    config.Flags
}

// newFlagSet returns a set of all flags that stores their values in o.
func newFlagSet(o *options) *pflag.FlagSet {
	fs := pflag.NewFlagSet("vswitchd", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {} // run prints the help if --help is given
	fs.StringVar(&o.file, "config", "", "read this `file`; default: "+config.DefaultFile+", if there is one")
	fs.BoolVar(&o.check, "check", false, "print all errors of the configuration, and exit")
	fs.StringArrayVar(&o.flags.Ports, "port", nil, "add a port for a guest, as `NAME[=SOCKET]`; may be repeated")
	fs.StringArrayVar(&o.flags.Uplinks, "uplink", nil, "add a port on this network `interface`; may be repeated")
	fs.StringVar(&o.flags.Control, "control", "", "serve the control API on this `socket`")
	fs.StringVar(&o.flags.Metrics, "metrics", "", "serve Prometheus metrics on this `host:port`")
	fs.StringVar(&o.flags.Status, "status", "", "serve the status page on this `host:port`")
	fs.StringVar(&o.flags.LogLevel, "log-level", "", "`level`: trace, debug, info, warn or error")
	fs.StringVar(&o.flags.LogFormat, "log-format", "", "`format`: text or json")
	fs.BoolVar(&o.takeover, "takeover", false, "take over from the vswitchd that serves the control socket, without\ninterrupting guests, and let it end")
	fs.BoolVar(&o.version, "version", false, "print the version, and exit")
	fs.Bool("print-capabilities", false, "print the capabilities of this back-end in JSON, and exit")
	fs.StringVar(&o.flags.SocketPath, "socket-path", "", "serve one port on this `socket`")
	fs.IntVar(&o.flags.FD, "fd", 0, "serve one port on this inherited socket, a file descriptor `number`; if it is\nconnected, end when the front-end leaves")
	return fs
}

func parseFlags(args []string) (*options, error) {
	o := &options{}
	fs := newFlagSet(o)
	if err := fs.Parse(args); err != nil {
		return nil, usage.FlagError(fs, err)
	}
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case fs.Changed("fd") && fs.Changed("socket-path"):
		return nil, errors.New("--fd and --socket-path exclude each other")
	case fs.Changed("fd") && o.takeover:
		return nil, errors.New("--fd and --takeover exclude each other")
	case fs.Changed("fd") && o.flags.FD < 3:
		return nil, fmt.Errorf("--fd %d: 0, 1 and 2 are the standard streams, and negative numbers no descriptors", o.flags.FD)
	}
	for _, name := range []string{"config", "control", "metrics", "status", "log-level", "log-format", "socket-path"} {
		if f := fs.Lookup(name); f.Changed && f.Value.String() == "" {
			return nil, fmt.Errorf("--%s: the value is empty", name)
		}
	}
	// A vswitchd that serves one device is started together with a guest. It must not read the
	// configuration of the system's switch.
	one := fs.Changed("fd") || fs.Changed("socket-path")
	if o.file == "" && !one {
		if _, err := os.Stat(config.DefaultFile); err == nil || !errors.Is(err, os.ErrNotExist) {
			o.file = config.DefaultFile
		}
	}
	return o, nil
}

func help() string {
	return "Usage: vswitchd [flags]\n\nSwitch Ethernet frames between QEMU guests and network interfaces.\n\n" +
		newFlagSet(&options{}).FlagUsages()
}
