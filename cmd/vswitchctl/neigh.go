package main

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
)

func (c *client) neighShow() *cobra.Command {
	return showByVLAN(c, "Show which MAC address has which IP address, for ports with neigh_suppress", "only entries of this `VLAN`", "/v1/neigh", printNeighbors)
}

func printNeighbors(w *layout.Page, list []control.Neighbor) {
	var rows [][]string
	for _, n := range list {
		vlan, age, kind := strconv.Itoa(int(n.VLAN)), "-", n.Type
		if n.All {
			vlan = "all"
		}
		if n.Type == "learned" {
			age = fmt.Sprintf("%d s", n.AgeS)
		}
		if n.Guarded {
			kind += ", guarded"
		}
		if n.Router {
			kind += ", router"
		}
		rows = append(rows, []string{n.IP, n.MAC, vlan, cmp.Or(n.Port, "-"), kind, n.State, age})
	}
	w.Table([]layout.Column{
		{Title: "IP", Fold: 14}, {Title: "MAC"}, number("VLAN"), {Title: "PORT"}, {Title: "TYPE", Fold: 11}, {Title: "STATE"}, {Title: "AGE", Right: true, Omit: 1},
	}, rows)
}
