package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/usage"
)

func (c *client) neighShow() *cobra.Command {
	vlan := usage.Integer{Max: 4095, Kind: "VLAN"}
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show which MAC address has which IP address, for ports with neigh_suppress",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/neigh"
			if cmd.Flags().Changed("vlan") {
				path += "?vlan=" + vlan.String()
			}
			return get(cmd, c, path, printNeighbors)
		},
	}
	cmd.Flags().Var(&vlan, "vlan", "only entries of this `VLAN`")
	return cmd
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
