package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/nearest"
	"vswitchd/internal/version"
)

// versions is what `version -j` prints.
type versions struct {
	Client string `json:"vswitchctl"`
	Daemon string `json:"vswitchd"` // "": none is running
}

// version prints the versions of the program and of the daemon, as bug reports need them. It is the
// one command that succeeds without a daemon.
func (c *client) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the versions of vswitchctl and of the running vswitchd",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			v := versions{Client: version.String()}
			body, err := control.NewClient(c.socket).Get(cmd.Context(), "/v1/switch")
			if err == nil {
				var info control.SwitchInfo
				err = json.Unmarshal(body, &info)
				v.Daemon = info.Version
			}
			if err != nil && !errors.Is(err, control.ErrNoDaemon) {
				return failure{err}
			}
			body, err = json.Marshal(v)
			return show(c, body, err, printVersions)
		},
	}
}

func printVersions(w *layout.Page, v versions) {
	daemon := "vswitchd is not running"
	if v.Daemon != "" {
		daemon = "vswitchd " + v.Daemon
	}
	fmt.Fprintf(w, "%s\n%s\n", version.Line("vswitchctl"), daemon)
}

// help replaces cobra's command of that name, which does not fail, and gives no hint, for a command
// that does not exist.
func help(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]...",
		Short: "Show how a command is used",
		RunE: func(_ *cobra.Command, args []string) error {
			at := root
			for _, arg := range args {
				var known []string
				next := at
				for _, sub := range at.Commands() {
					if known = append(known, sub.Name()); sub.Name() == arg {
						next = sub
					}
				}
				if next == at {
					return fmt.Errorf("unknown command %q%s", strings.Join(args, " "), nearest.Hint(arg, known))
				}
				at = next
			}
			return at.Help()
		},
	}
}
