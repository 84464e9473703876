package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/nearest"
	"vswitchd/internal/ranges"
	"vswitchd/internal/tomldoc"
	"vswitchd/internal/usage"
)

// Commands about the VLANs of ports.

func (c *client) vlanShow() *cobra.Command {
	return showAll(c, "/v1/ports", "Show which ports carry which VLANs, without a tag and with one", printVLANs)
}

// printVLANs prints which ports carry a VLAN, for each VLAN that a port names, and for the others
// if there are ports that carry all VLANs.
func printVLANs(w *layout.Page, ports []control.PortInfo) {
	var named []uint16
	for _, p := range ports {
		named = append(named, p.VLAN.Tag)
		named = append(named, p.VLAN.Trunks...)
	}
	var order [][2]string                  // who carries VLANs, without a tag and with one
	groups := make(map[[2]string][]uint16) // VLANs by that
	slices.Sort(named)
	for _, vlan := range slices.Compact(named) {
		who := carriers(ports, int(vlan))
		if groups[who] == nil {
			order = append(order, who)
		}
		groups[who] = append(groups[who], vlan)
	}
	var rows [][]string
	row := func(name string, who [2]string) {
		if who != ([2]string{}) {
			rows = append(rows, []string{name, cmp.Or(who[0], "-"), cmp.Or(who[1], "-")})
		}
	}
	for _, who := range order {
		name := ranges.Text(groups[who])
		if groups[who][0] == 0 { // which no other VLAN is like: nobody carries it with a tag
			name = "none"
		}
		row(name, who)
	}
	row("others", carriers(ports, otherVLAN))
	w.Table([]layout.Column{listed("VLAN"), listed("UNTAGGED"), listed("TAGGED")}, rows)
}

// carriers returns the names of the ports that carry a VLAN, without a tag and with one.
func carriers(ports []control.PortInfo, vlan int) [2]string {
	var untagged, tagged []string
	for _, p := range ports {
		switch carried, tag := carries(p.VLAN, vlan); {
		case carried && tag:
			tagged = append(tagged, p.Name)
		case carried:
			untagged = append(untagged, p.Name)
		}
	}
	return [2]string{strings.Join(untagged, ","), strings.Join(tagged, ",")}
}

// otherVLAN stands for a VLAN that no port names.
const otherVLAN = 4096

// carries reports whether a port carries a VLAN, and whether frames leave the port with a tag then.
func carries(v control.VLAN, vlan int) (carried, tagged bool) {
	own, trunk := vlan == int(v.Tag), len(v.Trunks) == 0 || vlan < otherVLAN && slices.Contains(v.Trunks, uint16(vlan))
	switch v.Mode {
	case "access", "dot1q-tunnel":
		return own, false
	case "native-untagged":
		return own || trunk && vlan != 0, !own
	case "native-tagged":
		return own || trunk && vlan != 0, true
	}
	return trunk, vlan != 0
}

func (c *client) vlanAdd() *cobra.Command {
	return c.vlanChange("add", "Let a trunk carry a VLAN, or a range of VLANs", func(trunks, vlans []uint16) ([]uint16, error) {
		if len(trunks) == 0 {
			return nil, fmt.Errorf("carries all VLANs already")
		}
		return append(trunks, vlans...), nil
	})
}

func (c *client) vlanDel() *cobra.Command {
	return c.vlanChange("del", "Take a VLAN, or a range of VLANs, away from a trunk", func(trunks, vlans []uint16) ([]uint16, error) {
		if len(trunks) == 0 {
			for vlan := range uint16(4095) {
				trunks = append(trunks, vlan)
			}
		}
		for _, vlan := range vlans {
			if !slices.Contains(trunks, vlan) {
				return nil, fmt.Errorf("does not carry VLAN %d", vlan)
			}
		}
		trunks = slices.DeleteFunc(trunks, func(v uint16) bool { return slices.Contains(vlans, v) })
		if len(trunks) == 0 {
			return nil, fmt.Errorf("would carry no VLAN, and an empty list means all; remove the port, or set another vlan_mode")
		}
		return trunks, nil
	})
}

// vlanChange returns a command that changes the trunks of a port.
func (c *client) vlanChange(verb, short string, change func(trunks, vlans []uint16) ([]uint16, error)) *cobra.Command {
	return c.editCommand(verb+" PORT VLAN", short, nil, exactly("the name of the port", "the VLAN"), func(_ *cobra.Command, args []string) (edit, error) {
		vlans, err := vlanRange(args[1])
		return func(doc *tomldoc.Table) (tomldoc.Patch, error) {
			path, err := portPath(doc, args[0])
			if err != nil {
				return nil, err
			}
			port := doc.Table(path[0]).Table(path[1])
			mode, _ := port.Get("vlan_mode").(string)
			if tag := port.Get("tag"); mode == "access" || mode == "dot1q-tunnel" || mode == "" && tag != nil && tag != int64(0) {
				return nil, fmt.Errorf("%s carries the VLAN of its tag alone; for a trunk set vlan_mode", args[0])
			}
			trunks, err := change(trunksOf(port), vlans)
			if err != nil {
				return nil, fmt.Errorf("%s %w", args[0], err)
			}
			return tomldoc.Patch{{Op: "add", Path: append(path, "trunks"), Value: trunkList(trunks)}}, nil
		}, err
	})
}

// vlanRange reads a VLAN, or a range such as 10-20.
func vlanRange(text string) (vlans []uint16, err error) {
	r, ok := ranges.Parse(text)
	if n := (usage.Integer{Max: 4094}); !ok {
		if err := n.Set(text); err != nil {
			return nil, fmt.Errorf("the VLAN %w", err)
		}
		r = ranges.Range{First: uint16(n.N), Last: uint16(n.N)}
	}
	if r.Last > 4094 {
		return nil, fmt.Errorf("the VLAN is %q, must be from 0 to 4094", text)
	}
	for v := int(r.First); v <= int(r.Last); v++ {
		vlans = append(vlans, uint16(v))
	}
	return vlans, nil
}

// portPath returns the path of a port of any kind.
func portPath(doc *tomldoc.Table, name string) (tomldoc.Path, error) {
	var known []string
	for _, o := range portObjects {
		if o.exists(doc, name) == nil {
			return o.path(name), nil
		}
		if tables := doc.Table(o.table); tables != nil {
			known = append(known, tables.Keys()...)
		}
	}
	return nil, fmt.Errorf("there is no port %q%s", name, nearest.Hint(name, known))
}

// trunksOf returns the VLANs in the key trunks.
func trunksOf(port *tomldoc.Table) (vlans []uint16) {
	for _, e := range port.List("trunks") {
		list, err := vlanRange(fmt.Sprint(e))
		if err == nil {
			vlans = append(vlans, list...)
		}
	}
	return vlans
}

// trunkList returns a value for the key trunks.
func trunkList(vlans []uint16) (list []any) {
	for _, r := range ranges.Of(vlans) {
		if r.First == r.Last {
			list = append(list, int64(r.First))
		} else {
			list = append(list, r.String())
		}
	}
	return list
}
