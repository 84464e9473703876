package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/tomldoc"
	"vswitchd/internal/usage"
)

func (c *client) mdbShow() *cobra.Command {
	return showByVLAN(c, "Show the memberships in multicast groups, queriers and routers", "only this `VLAN`", "/v1/mdb", printMDB)
}

// sourcesText lists the sources that a membership is about: those that are included or excluded.
func sourcesText(e *control.MDBEntry) string {
	var list []string
	for _, s := range e.Sources {
		if s.Blocked == (e.Mode == "exclude") {
			list = append(list, s.Address)
		}
	}
	return cmp.Or(strings.Join(list, " "), "-")
}

func printMDB(w *layout.Page, m control.MDB) {
	if !m.Snooping {
		fmt.Fprintln(w, "multicast snooping is off (switch.mcast_snooping): multicast goes to all ports")
		return
	}
	var rows [][]string
	for _, e := range m.Entries {
		expires := fmt.Sprintf("%d s", e.ExpiresS)
		if e.Type == "static" {
			expires = "-"
		}
		rows = append(rows, []string{e.Group, strconv.Itoa(int(e.VLAN)), e.Port, e.Type, e.Mode, sourcesText(&e), expires})
	}
	w.Table([]layout.Column{{Title: "GROUP", Fold: 19}, number("VLAN"), {Title: "PORT"}, {Title: "TYPE", Omit: 1}, {Title: "MODE"}, listed("SOURCES"), number("EXPIRES")}, rows)
	fmt.Fprintln(w)
	rows = nil
	for _, n := range m.Networks {
		querier, expires, multicast := "-", "-", "snooped"
		if n.Querier != "" {
			querier, expires = n.Querier, fmt.Sprintf("%d s", n.ExpiresS)
			if n.Own {
				querier += " (own)"
			}
		}
		if n.Flooding {
			multicast = "flooded"
		}
		rows = append(rows, []string{
			strconv.Itoa(int(n.VLAN)), strconv.Itoa(n.IPVersion), querier, expires, multicast, strings.Join(n.Routers, " "),
		})
	}
	w.Table([]layout.Column{number("VLAN"), number("IP"), {Title: "QUERIER", Fold: 19}, number("EXPIRES"), {Title: "MULTICAST"}, listed("ROUTER PORTS")}, rows)
	if len(m.Networks) == 0 {
		fmt.Fprintln(w, "no querier has been heard: multicast goes to all ports")
	}
}

// showByVLAN returns a command that shows what is at a path of the API, of all VLANs or of one.
func showByVLAN[T any](c *client, short, flag, path string, show func(*layout.Page, T)) *cobra.Command {
	vlan := usage.Integer{Max: 4095, Kind: "VLAN"}
	cmd := &cobra.Command{
		Use:   "show",
		Short: short,
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := path
			if cmd.Flags().Changed("vlan") {
				path += "?vlan=" + vlan.String()
			}
			return get(cmd, c, path, show)
		},
	}
	cmd.Flags().Var(&vlan, "vlan", flag)
	return cmd
}

func (c *client) mdbAdd() *cobra.Command {
	return c.mdbChange("add", "Make a port a member of a group, whatever is reported from behind it", "added", (*control.Client).Post)
}

func (c *client) mdbDel() *cobra.Command {
	return c.mdbChange("del", "Remove a static membership", "removed", (*control.Client).Delete)
}

// mdbChange returns a command that changes a static membership.
func (c *client) mdbChange(verb, short, done string, send func(*control.Client, context.Context, string) (json.RawMessage, error)) *cobra.Command {
	var source string
	var save bool
	vlan := usage.Integer{Max: 4095, Kind: "VLAN"}
	cmd := &cobra.Command{
		Use:   verb + " GROUP PORT",
		Short: short,
		Args:  atMost(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return errors.New("the address of the group is missing")
			case 1:
				return errors.New("the port is missing")
			}
			if save {
				in, is := inVLAN(cmd, &vlan)
				return c.edit(cmd, &editFlags{save: true}, memberEdit(verb, args, source, in, is))
			}
			q := url.Values{"group": {args[0]}, "port": {args[1]}}
			if cmd.Flags().Changed("vlan") {
				q.Set("vlan", vlan.String())
			}
			if cmd.Flags().Changed("source") {
				q.Set("source", source)
			}
			body, err := send(control.NewClient(c.socket), cmd.Context(), "/v1/mdb?"+q.Encode())
			return show(c, body, err, func(w *layout.Page, e control.MDBEntry) {
				from := ""
				if e.Source != "" {
					from = " from " + e.Source
				}
				fmt.Fprintf(w, "%s: %s%s in VLAN %d at %s\n", done, e.Group, from, e.VLAN, e.Port)
			})
		},
	}
	cmd.Flags().Var(&vlan, "vlan", "the `VLAN`, instead of that of the port's untagged frames")
	cmd.Flags().StringVar(&source, "source", "", "only what comes from this `address`")
	saveFlag(cmd, &save)
	return cmd
}

// memberEdit adds a static membership to the configuration, or removes it.
func memberEdit(verb string, args []string, source string, vlan []setting, in func(*tomldoc.Table) bool) edit {
	if verb == "del" {
		return delEntry("mdb", args[0]+" of "+args[1], func(t *tomldoc.Table) bool {
			from := sameIP(t, "source", source) || source == "" && (t.Get("source") == nil || t.Get("source") == "")
			return sameIP(t, "group", args[0]) && t.Get("port") == args[1] && from && in(t)
		})
	}
	settings := append([]setting{{"group", args[0]}, {"port", args[1]}}, vlan...)
	if source != "" {
		settings = append(settings, setting{"source", source})
	}
	return addEntry("mdb", settings...)
}
