package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vswitchd/internal/tomldoc"
	"vswitchd/internal/usage"
)

// Entries of arrays of tables: [[fdb]], [[mdb]] and [[neigh]].

// addEntry adds an entry to an array of tables.
func addEntry(array string, settings ...setting) edit {
	return func(*tomldoc.Table) (tomldoc.Patch, error) {
		return tomldoc.Patch{{Op: "add", Path: tomldoc.Path{array, "-"}, Value: tableOf(settings)}}, nil
	}
}

// delEntry removes the entry for which is returns true, and which text describes.
func delEntry(array, text string, is func(*tomldoc.Table) bool) edit {
	return func(doc *tomldoc.Table) (tomldoc.Patch, error) {
		var found []int
		for i, e := range doc.List(array) {
			if t, ok := e.(*tomldoc.Table); ok && is(t) {
				found = append(found, i)
			}
		}
		switch len(found) {
		case 0:
			return nil, fmt.Errorf("[[%s]] has no entry %s", array, text)
		case 1:
			return tomldoc.Patch{{Op: "remove", Path: tomldoc.Path{array, strconv.Itoa(found[0])}}}, nil
		}
		return nil, fmt.Errorf("[[%s]] has %d entries %s: say in which VLAN", array, len(found), text)
	}
}

// sameText reports whether a key is a text, in any case of its letters.
func sameText(t *tomldoc.Table, key, text string) bool {
	s, _ := t.Get(key).(string)
	return strings.EqualFold(strings.ReplaceAll(s, "-", ":"), strings.ReplaceAll(text, "-", ":"))
}

// sameIP reports whether a key is an IP address.
func sameIP(t *tomldoc.Table, key, text string) bool {
	s, _ := t.Get(key).(string)
	a, err := netip.ParseAddr(s)
	b, err2 := netip.ParseAddr(text)
	return err == nil && err2 == nil && a == b
}

// inVLAN returns what vlan adds to an entry, and whether an entry is in that VLAN; any is, if the
// flag is not given.
func inVLAN(cmd *cobra.Command, vlan *usage.Integer) ([]setting, func(*tomldoc.Table) bool) {
	if !cmd.Flags().Changed("vlan") {
		return nil, func(*tomldoc.Table) bool { return true }
	}
	return []setting{{"vlan", int64(vlan.N)}}, func(t *tomldoc.Table) bool { return t.Get("vlan") == int64(vlan.N) }
}

// exactly requires the named arguments.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return errors.New(names[len(args)] + " is missing")
		}
		return atMost(len(names))(cmd, args)
	}
}

func (c *client) neighAdd() *cobra.Command {
	var router bool
	vlan := usage.Integer{Max: 4095, Kind: "VLAN"}
	cmd := c.editCommand("add IP MAC", "Configure which MAC address has an IP address", nil, exactly("the IP address", "the MAC address"),
		func(cmd *cobra.Command, args []string) (edit, error) {
			in, _ := inVLAN(cmd, &vlan)
			settings := append([]setting{{"ip", args[0]}, {"mac", args[1]}}, in...)
			if router {
				settings = append(settings, setting{"router", true})
			}
			return addEntry("neigh", settings...), nil
		})
	cmd.Flags().Var(&vlan, "vlan", "the `VLAN`, instead of all")
	cmd.Flags().BoolVar(&router, "router", false, "the station is a router")
	return cmd
}

func (c *client) neighDel() *cobra.Command {
	vlan := usage.Integer{Max: 4095, Kind: "VLAN"}
	cmd := c.editCommand("del IP", "Remove a configured neighbor", nil, exactly("the IP address"), func(cmd *cobra.Command, args []string) (edit, error) {
		_, in := inVLAN(cmd, &vlan)
		return delEntry("neigh", args[0], func(t *tomldoc.Table) bool { return sameIP(t, "ip", args[0]) && in(t) }), nil
	})
	cmd.Flags().Var(&vlan, "vlan", "the `VLAN`, if the address has entries in several")
	return cmd
}

func (c *client) setCreate() *cobra.Command {
	const short = "Make a set of addresses, prefixes, ports and ranges of ports"
	return c.editCommand("create NAME [ENTRY]...", short, nil, named("set"), func(_ *cobra.Command, args []string) (edit, error) {
		addresses, ports := entriesOf(args[1:])
		t := &tomldoc.Table{}
		if len(addresses) > 0 {
			t.Set("addresses", texts(addresses))
		}
		if len(ports) > 0 {
			t.Set("ports", texts(ports))
		}
		return setObject.adds(args[0], t), nil
	})
}

// entriesOf divides entries of a set into addresses and ports.
func entriesOf(args []string) (addresses, ports []string) {
	for _, arg := range args {
		if strings.Trim(arg, "0123456789-") == "" {
			ports = append(ports, arg)
		} else {
			addresses = append(addresses, arg)
		}
	}
	return addresses, ports
}

func texts(words []string) (list []any) {
	for _, w := range words {
		list = append(list, w)
	}
	return list
}

// changeSet is the edit that adds entries to a set of the configuration, or removes them.
func changeSet(name string, del bool, entries []string) edit {
	addresses, ports := entriesOf(entries)
	return func(doc *tomldoc.Table) (p tomldoc.Patch, err error) {
		if err := setObject.exists(doc, name); err != nil {
			return nil, err
		}
		set := doc.Table("set").Table(name)
		for _, part := range []struct {
			key   string
			words []string
		}{{"addresses", addresses}, {"ports", ports}} {
			if len(part.words) == 0 {
				continue
			}
			list := slices.Clone(elementsOf(set, part.key))
			for _, w := range part.words {
				i := slices.IndexFunc(list, func(e any) bool { return fmt.Sprint(e) == w })
				switch {
				case del && i < 0:
					return nil, fmt.Errorf("set %q of the configuration has no entry %s", name, w)
				case del:
					list = slices.Delete(list, i, i+1)
				default:
					list = append(list, w)
				}
			}
			p = append(p, tomldoc.Edit{Op: "add", Path: setObject.path(name, part.key), Value: append([]any{}, list...)})
		}
		return p, nil
	}
}

// elementsOf returns the elements of a list, which may be its only element.
func elementsOf(t *tomldoc.Table, key string) []any {
	switch v := t.Get(key).(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}
