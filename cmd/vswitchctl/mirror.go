package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/ranges"
)

func (c *client) mirrorShow() *cobra.Command {
	return showAll(c, "/v1/mirrors", "Show all mirrors, with what they have copied", printMirrors)
}

func printMirrors(w *layout.Page, mirrors []control.Mirror) {
	var rows [][]string
	for _, m := range mirrors {
		from, to := strings.Join(m.SelectSrc, ","), strings.Join(m.SelectDst, ",")
		if m.SelectAll {
			from, to = "all", "all"
		}
		snaplen := "-"
		if m.Snaplen != 0 {
			snaplen = strconv.Itoa(m.Snaplen)
		}
		rows = append(rows, []string{
			m.Name, cmp.Or(from, "-"), cmp.Or(to, "-"), cmp.Or(ranges.Text(m.SelectVLAN), "all"), cmp.Or(m.Filter, "-"),
			cmp.Or(m.Output, fmt.Sprintf("VLAN %d", m.OutputVLAN)), snaplen, count(m.Frames), count(m.Bytes), count(m.Drops),
		})
	}
	vlans, filter, snaplen, bytes := listed("VLANS"), listed("FILTER"), number("SNAPLEN"), counted("BYTES")
	frames := counted("FRAMES")
	snaplen.Omit, bytes.Omit, filter.Omit, vlans.Omit, frames.Omit = 1, 2, 3, 4, 5
	w.Table([]layout.Column{{Title: "NAME"}, listed("FROM"), listed("TO"), vlans, filter, {Title: "OUTPUT"}, snaplen, frames, bytes, droppedColumn}, rows)
}
