package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/tomldoc"
	"vswitchd/internal/usage"
)

// fdbFilter is the flags that select entries of the FDB.
type fdbFilter struct {
	port string
	vlan usage.Integer
}

func (f *fdbFilter) register(cmd *cobra.Command) {
	f.vlan = usage.Integer{Max: 4095, Kind: "VLAN"}
	cmd.Flags().StringVar(&f.port, "port", "", "only entries of this `port`")
	cmd.Flags().Var(&f.vlan, "vlan", "only entries of this `VLAN`")
}

// query returns the flags that were set as parameters of a request.
func (f *fdbFilter) query(cmd *cobra.Command) (url.Values, error) {
	q := url.Values{}
	if cmd.Flags().Changed("port") {
		if f.port == "" {
			return nil, errors.New("--port: the name is empty")
		}
		q.Set("port", f.port)
	}
	if cmd.Flags().Changed("vlan") {
		q.Set("vlan", f.vlan.String())
	}
	return q, nil
}

// withQuery returns a path with its query, if there is one.
func withQuery(path string, q url.Values) string {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return path
}

func (c *client) fdbShow() *cobra.Command {
	var f fdbFilter
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the entries of the forwarding database",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := f.query(cmd)
			if err != nil {
				return err
			}
			if err := get(cmd, c, withQuery("/v1/fdb", q), printFDB); err != nil || c.json {
				return err
			}
			return get(cmd, c, "/v1/switch", printFDBEvents)
		},
	}
	f.register(cmd)
	return cmd
}

func printFDB(w *layout.Page, entries []control.FDBEntry) {
	var rows [][]string
	for _, e := range entries {
		age := "-"
		if e.Type == "dynamic" || e.Type == "sticky" {
			age = fmt.Sprintf("%d s", e.AgeS)
		}
		vlan := strconv.Itoa(int(e.VLAN))
		if e.All {
			vlan = "all"
		}
		rows = append(rows, []string{e.MAC, vlan, cmp.Or(e.Port, "-"), e.Type, age})
	}
	w.Table([]layout.Column{{Title: "MAC"}, number("VLAN"), {Title: "PORT"}, {Title: "TYPE"}, number("AGE")}, rows)
}

// printFDBEvents prints the lines below the table of entries.
func printFDBEvents(w *layout.Page, s control.SwitchInfo) {
	fmt.Fprintln(w)
	fields(w, "entries", fmt.Sprintf("%d of %d", s.FDBEntries, s.FDBSize), "since start", eventText(s.FDBEvents))
}

func (c *client) fdbAdd() *cobra.Command {
	var sticky, dynamic, blackhole, save bool
	vlan := usage.Integer{Max: 4095, Kind: "VLAN"}
	cmd := &cobra.Command{
		Use:   "add MAC {PORT | --blackhole}",
		Short: "Add an entry, static unless a flag says otherwise",
		Args:  atMost(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			switch {
			case len(args) == 0:
				return errors.New("the address is missing")
			case len(args) == 1 && !blackhole:
				return errors.New("the port is missing")
			case len(args) == 2 && blackhole:
				return errors.New("--blackhole: a blackhole has no port")
			case len(args) == 2:
				q.Set("port", args[1])
			}
			q.Set("mac", args[0])
			for kind, on := range map[string]bool{"sticky": sticky, "dynamic": dynamic, "blackhole": blackhole} {
				if !on {
					continue
				}
				if q.Has("type") {
					return errors.New("--sticky, --dynamic and --blackhole exclude each other")
				}
				q.Set("type", kind)
			}
			if save {
				in, _ := inVLAN(cmd, &vlan)
				return c.fdbAddSaved(cmd, q, in)
			}
			if cmd.Flags().Changed("vlan") {
				q.Set("vlan", vlan.String())
			}
			body, err := control.NewClient(c.socket).Post(cmd.Context(), withQuery("/v1/fdb", q))
			return show(c, body, err, func(w *layout.Page, e control.FDBEntry) { printFDB(w, []control.FDBEntry{e}) })
		},
	}
	cmd.Flags().Var(&vlan, "vlan", "the `VLAN`, instead of that of the port's untagged frames; of a blackhole, instead of all")
	cmd.Flags().BoolVar(&sticky, "sticky", false, "the entry ages, but does not move to another port")
	cmd.Flags().BoolVar(&dynamic, "dynamic", false, "the entry ages and moves, as if it had been learned")
	cmd.Flags().BoolVar(&blackhole, "blackhole", false, "frames to the address are dropped")
	saveFlag(cmd, &save)
	return cmd
}

// fdbAddSaved adds an entry that a query describes to the configuration.
func (c *client) fdbAddSaved(cmd *cobra.Command, q url.Values, vlan []setting) error {
	settings := append([]setting{{"mac", q.Get("mac")}}, vlan...)
	if q.Has("port") {
		settings = append(settings, setting{"port", q.Get("port")})
	}
	switch kind := q.Get("type"); kind {
	case "dynamic":
		return errors.New("--dynamic: the configuration has no such entries, so there is nothing to save")
	case "sticky", "blackhole":
		settings = append(settings, setting{kind, true})
	}
	return c.edit(cmd, &editFlags{save: true}, addEntry("fdb", settings...))
}

func (c *client) fdbDel() *cobra.Command {
	var save bool
	vlan := usage.Integer{Max: 4095, Kind: "VLAN"}
	cmd := &cobra.Command{
		Use:   "del MAC",
		Short: "Remove the entry of an address",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("the address is missing")
			}
			if save {
				_, in := inVLAN(cmd, &vlan)
				return c.edit(cmd, &editFlags{save: true}, delEntry("fdb", args[0], func(t *tomldoc.Table) bool { return sameText(t, "mac", args[0]) && in(t) }))
			}
			q := url.Values{}
			if cmd.Flags().Changed("vlan") {
				q.Set("vlan", vlan.String())
			}
			body, err := control.NewClient(c.socket).Delete(cmd.Context(), withQuery("/v1/fdb/"+url.PathEscape(args[0]), q))
			return show(c, body, err, printRemoved)
		},
	}
	cmd.Flags().Var(&vlan, "vlan", "the `VLAN`, if the address has entries in several")
	saveFlag(cmd, &save)
	return cmd
}

func (c *client) fdbFlush() *cobra.Command {
	var f fdbFilter
	var kinds string
	cmd := &cobra.Command{
		Use:   "flush",
		Short: "Remove all learned entries, or those that the flags select",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := f.query(cmd)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("kind") {
				if kinds == "" {
					return errors.New("--kind: the list is empty")
				}
				q.Set("type", kinds)
			}
			body, err := control.NewClient(c.socket).Delete(cmd.Context(), withQuery("/v1/fdb", q))
			return show(c, body, err, printRemoved)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&kinds, "kind", "dynamic", "`kinds` of entries: dynamic, static, sticky, blackhole, separated by commas")
	return cmd
}

func printRemoved(w *layout.Page, r control.FDBRemoved) {
	if r.Removed == 1 {
		fmt.Fprintln(w, "1 entry removed")
	} else {
		fmt.Fprintln(w, r.Removed, "entries removed")
	}
}
