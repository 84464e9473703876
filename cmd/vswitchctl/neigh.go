package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
)

func (c *client) neighShow() *cobra.Command {
	return showByVLAN(c, "Show which MAC address has which IP address, for ports with neigh_suppress", "only entries of this `VLAN`", "/v1/neigh", printNeighbors)
}

func printNeighbors(w io.Writer, list []control.Neighbor) {
	rows := [][]string{{"IP", "MAC", "VLAN", "PORT", "TYPE", "STATE", "AGE"}}
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
	columns(w, []int{2, 6}, rows)
}
