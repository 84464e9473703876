package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/nearest"
	"vswitchd/internal/usage"
	"vswitchd/internal/version"
)

// client holds what all commands need: the socket, and how to print the answer.
type client struct {
	socket string
	json   bool
	out    io.Writer
}

func newRoot(out io.Writer) *cobra.Command {
	c := &client{out: out}
	root := group("vswitchctl", "Show what a running vswitchd does, and change it")
	root.Version = version.String()
	root.SetVersionTemplate(version.Line("vswitchctl") + "\n")
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage.FlagError(cmd.Flags(), err) })
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return c.check() }
	flags := root.PersistentFlags()
	flags.StringVar(&c.socket, "control", "/run/vswitchd/control.sock", "control `socket` of vswitchd")
	flags.BoolVarP(&c.json, "json", "j", false, "print one JSON value")

	root.AddCommand(c.show(), c.reload(), c.version())
	root.SetHelpCommand(help(root))
	port := group("port", "Ports")
	port.AddCommand(c.portShow())
	fdb := group("fdb", "Forwarding database: which MAC address is behind which port")
	fdb.AddCommand(c.fdbShow(), c.fdbAdd(), c.fdbDel(), c.fdbFlush())
	mdb := group("mdb", "Multicast database: which port has joined which group")
	mdb.AddCommand(c.mdbShow(), c.mdbAdd(), c.mdbDel())
	neigh := group("neigh", "Neighbor table: which MAC address has which IP address")
	neigh.AddCommand(c.neighShow())
	mirror := group("mirror", "Mirrors: copies of frames for another port")
	mirror.AddCommand(c.mirrorShow())
	filter := group("filter", "Filters: rules that accept, drop and count frames")
	filter.AddCommand(c.filterShow())
	set := group("set", "Sets of addresses and ports, which rules of filters name")
	set.AddCommand(c.setShow(), c.setChange("add"), c.setChange("del"))
	stats := group("stats", "Counters")
	stats.AddCommand(c.statsShow())
	root.AddCommand(port, fdb, mdb, neigh, mirror, filter, set, stats)
	return root
}

// group returns a command that only contains others.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				var known []string
				for _, sub := range cmd.Commands() {
					known = append(known, sub.Name())
				}
				return fmt.Errorf("unknown command %q%s", args[0], nearest.Hint(args[0], known))
			}
			return errors.New("a command is missing")
		},
	}
}

// atMost allows up to n arguments.
func atMost(n int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > n {
			return fmt.Errorf("unexpected argument %q", args[n])
		}
		for _, arg := range args {
			if arg == "" {
				return errors.New("the name is empty")
			}
		}
		return nil
	}
}

// check checks the flags that are common to all commands.
func (c *client) check() error {
	switch {
	case c.socket == "":
		return errors.New("--control: the path is empty")
	case len(c.socket) > maxSocketPath:
		return fmt.Errorf("--control: the path is %d bytes long, at most %d are possible", len(c.socket), maxSocketPath)
	}
	return nil
}

// maxSocketPath is the longest path of a unix socket in bytes (unix(7)).
const maxSocketPath = 107

func (c *client) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show the whole switch at a glance",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return get(cmd, c, "/v1/switch", printSwitch)
		},
	}
}

func (c *client) portShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show all ports, or everything about one",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return get(cmd, c, "/v1/ports/"+url.PathEscape(args[0]), printPort)
			}
			return get(cmd, c, "/v1/ports", printPorts)
		},
	}
}

func (c *client) mirrorShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show all mirrors, with what they have copied",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return get(cmd, c, "/v1/mirrors", printMirrors)
		},
	}
}

func (c *client) statsShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show [PORT]",
		Short: "Show the counters of all ports, or of one, with drops by reason",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return get(cmd, c, "/v1/stats/"+url.PathEscape(args[0]), func(w io.Writer, s control.PortStats) {
					printStats(w, []control.PortStats{s})
				})
			}
			return get(cmd, c, "/v1/stats", printStats)
		},
	}
}

func (c *client) reload() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make vswitchd read its configuration again",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := control.NewClient(c.socket).Post(cmd.Context(), "/v1/reload")
			return show(c, body, err, printChange)
		},
	}
}

// get requests a path and prints the answer.
func get[T any](cmd *cobra.Command, c *client, path string, table func(io.Writer, T)) error {
	body, err := control.NewClient(c.socket).Get(cmd.Context(), path)
	return show(c, body, err, table)
}

// show prints an answer: unchanged with -j, otherwise as a table.
func show[T any](c *client, body json.RawMessage, err error, table func(io.Writer, T)) error {
	if err != nil {
		return failure{err}
	}
	var out bytes.Buffer
	if c.json {
		if err := json.Indent(&out, body, "", "  "); err != nil {
			return failure{err}
		}
		out.WriteByte('\n')
	} else {
		var v T
		if err := json.Unmarshal(body, &v); err != nil {
			return failure{fmt.Errorf("cannot read the answer of vswitchd: %w", err)}
		}
		table(&out, v)
	}
	if _, err := c.out.Write(out.Bytes()); err != nil {
		return failure{err}
	}
	return nil
}
