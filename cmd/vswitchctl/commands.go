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
	"vswitchd/internal/layout"
	"vswitchd/internal/nearest"
	"vswitchd/internal/usage"
	"vswitchd/internal/version"
)

// client holds what all commands need: the socket, and how to print the answer.
type client struct {
	socket string
	json   bool
	color  string
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
	flags.StringVar(&c.socket, "control", defaultSocket, "control `socket` of vswitchd")
	flags.StringVar(&c.color, "color", layout.ColorAuto, "`when` there are colors: auto, always or never")
	flags.BoolVarP(&c.json, "json", "j", false, "print one JSON value")

	root.AddCommand(c.show(), c.doctor(), c.top(), c.capture(), c.trace(), c.monitor(), c.reload(), c.upgrade(), c.version())
	root.SetHelpCommand(help(root))
	root.AddCommand(
		group("port", "Ports", c.portShow(), c.objectAdd(portObject), c.objectSet(portObject), c.objectDel(portObject, "del")),
		group("uplink", "Uplinks: ports on network interfaces of the host", c.kindShow("uplinks", control.KindUplink), c.objectAdd(uplinkObject), c.objectSet(uplinkObject), c.objectDel(uplinkObject, "del")),
		group("host", "Host ports: the host itself on the switch", c.kindShow("host ports", control.KindHost), c.objectAdd(hostObject), c.objectSet(hostObject), c.objectDel(hostObject, "del")),
		group("vlan", "VLANs of ports", c.vlanShow(), c.vlanAdd(), c.vlanDel()),
		group("fdb", "Forwarding database: which MAC address is behind which port", c.fdbShow(), c.fdbAdd(), c.fdbDel(), c.fdbFlush()),
		group("mdb", "Multicast database: which port has joined which group", c.mdbShow(), c.mdbAdd(), c.mdbDel()),
		group("neigh", "Neighbor table: which MAC address has which IP address", c.neighShow(), c.neighAdd(), c.neighDel()),
		group("mirror", "Mirrors: copies of frames for another port", c.mirrorShow(), c.objectAdd(mirrorObject), c.objectSet(mirrorObject), c.objectDel(mirrorObject, "del")),
		group("filter", "Filters: rules that accept, drop and count frames", c.filterShow(), c.objectAdd(filterObject), c.objectSet(filterObject), c.objectDel(filterObject, "del"),
			group("rule", "Rules of a filter", c.ruleAdd(), c.ruleSet(), c.ruleReplace(), c.ruleDel())),
		group("set", "Sets of addresses and ports, which rules of filters name", c.setShow(), c.setChange("add"), c.setChange("del"), c.setCreate(), c.objectDel(setObject, "destroy")),
		group("switch", "The switch as a whole", c.singleSet("switch", "Change keys of the switch as a whole")),
		group("log", "The log of vswitchd", c.singleSet("log", "Change how much is logged")),
		group("config", "The configuration as a whole", c.configShow(), c.configSave()),
		group("state", "What another vswitchd would take over", c.stateExport()),
		group("stats", "Counters", c.statsShow(), c.statsReset()),
		c.completion(root),
	)
	c.completeArguments(root)
	complete(root, "color", layout.ColorChoices)
	return root
}

// group returns a command that only contains others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
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
	cmd.AddCommand(commands...)
	return cmd
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
	if err := layout.CheckColor(c.color); err != nil {
		return fmt.Errorf("--color: %w", err)
	}
	return nil
}

// maxSocketPath is the longest path of a unix socket in bytes (unix(7)).
const maxSocketPath = 107

// showAll is the command that shows what a path of the API answers.
func showAll[T any](c *client, path, short string, table func(*layout.Page, T)) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: short,
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return get(cmd, c, path, table)
		},
	}
}

func (c *client) show() *cobra.Command {
	return showAll(c, "/v1/switch", "Show the whole switch at a glance", printSwitch)
}

// showNamed is the command that shows everything below a path of the API, or what has a name there.
func showNamed[All, One any](c *client, path, name, short string, all func(*layout.Page, All), one func(*layout.Page, One)) *cobra.Command {
	return &cobra.Command{
		Use:   "show [" + name + "]",
		Short: short,
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return get(cmd, c, path+"/"+url.PathEscape(args[0]), one)
			}
			return get(cmd, c, path, all)
		},
	}
}

func (c *client) portShow() *cobra.Command {
	return showNamed(c, "/v1/ports", "NAME", "Show all ports, or everything about one", printPorts, printPort)
}

// kindShow shows the ports of a kind.
func (c *client) kindShow(what string, kind control.Kind) *cobra.Command {
	return showAll(c, "/v1/ports?kind="+string(kind), "Show all "+what, printPorts)
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

// page returns a page for what goes to the client's output, by way of w.
func (c *client) page(w io.Writer) *layout.Page {
	return &layout.Page{Writer: w, Width: layout.WidthOf(c.out), Colors: layout.Colors(c.out, c.color)}
}

// get requests a path and prints the answer.
func get[T any](cmd *cobra.Command, c *client, path string, table func(*layout.Page, T)) error {
	body, err := control.NewClient(c.socket).Get(cmd.Context(), path)
	return show(c, body, err, table)
}

// show prints an answer: unchanged with -j, otherwise as a table.
func show[T any](c *client, body json.RawMessage, err error, table func(*layout.Page, T)) error {
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
		table(c.page(&out), v)
	}
	if _, err := c.out.Write(out.Bytes()); err != nil {
		return failure{err}
	}
	return nil
}
