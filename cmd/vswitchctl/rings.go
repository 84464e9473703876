package main

import (
	"fmt"
	"strconv"
	"strings"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
)

// The virtqueues of a guest, in tables.

func printRings(w *layout.Page, rings []control.Ring) {
	if len(rings) == 0 {
		return
	}
	fmt.Fprintln(w)
	printRingStates(w, rings)
	fmt.Fprintln(w)
	printIndices(w, rings)
	fmt.Fprintln(w)
	printNotifications(w, rings)
}

func printRingStates(w *layout.Page, rings []control.Ring) {
	var rows [][]string
	for _, r := range rings {
		rows = append(rows, []string{
			strconv.Itoa(r.Index), strings.ReplaceAll(r.Direction, "-", " "), r.Format, strconv.Itoa(r.Size), ringState(&r),
			strconv.Itoa(r.Waiting), strconv.Itoa(r.InFlight), count(r.BadChains),
		})
	}
	w.Table([]layout.Column{
		{Title: "RING"}, {Title: "DIR"}, {Title: "FORMAT"}, number("SIZE"), {Title: "STATE"}, number("WAITING"), number("IN FLIGHT"),
		{Title: "BAD CHAINS", Right: true, Short: shortCount, Tone: dropTone},
	}, rows)
	for _, r := range rings {
		if r.Broken != "" {
			fields(w, fmt.Sprintf("ring %d is broken", r.Index), r.Broken)
		}
	}
}

func printIndices(w *layout.Page, rings []control.Ring) {
	var rows [][]string
	for _, r := range rings {
		idx := "-"
		if r.AvailIdx != nil {
			idx = strconv.Itoa(int(*r.AvailIdx))
		}
		rows = append(rows, []string{strconv.Itoa(r.Index), idx, placeText(r.Avail, r.AvailWrap), placeText(r.Used, r.UsedWrap), baseText(&r)})
	}
	w.Table([]layout.Column{{Title: "RING"}, number("AVAIL IDX"), number("AVAIL"), number("USED"), number("BASE")}, rows)
}

// ringState summarizes started, running and enabled in one word.
func ringState(r *control.Ring) string {
	switch {
	case !r.Started:
		return "stopped"
	case !r.Running:
		return "suspended"
	case !r.Enabled:
		return "disabled"
	}
	return "running"
}

// baseText returns the value of GET_VRING_BASE: for a packed ring two indices with their wrap
// counters, in hexadecimal.
func baseText(r *control.Ring) string {
	if r.Format == "packed" {
		return fmt.Sprintf("%#x", r.Base)
	}
	return strconv.FormatUint(uint64(r.Base), 10)
}

// placeText returns an index in a split ring, or an index and its wrap counter, after a slash,
// in a packed one.
func placeText(idx uint16, wrap *int) string {
	if wrap == nil {
		return strconv.Itoa(int(idx))
	}
	return fmt.Sprintf("%d/%d", idx, *wrap)
}

func printNotifications(w *layout.Page, rings []control.Ring) {
	var rows [][]string
	for _, r := range rings {
		kicks := notifyText(r.WantKicks)
		if r.Polling {
			kicks += ", polling"
		}
		rows = append(rows, []string{
			strconv.Itoa(r.Index), count(r.Kicks), r.KickBy, kicks, count(r.Calls), r.CallBy, notifyText(r.WantCalls), r.Suppression,
		})
	}
	w.Table([]layout.Column{
		{Title: "RING"}, counted("KICKS"), {Title: "BY"}, {Title: "SWITCH WANTS KICKS", Fold: 11}, counted("CALLS"), {Title: "BY"}, {Title: "GUEST WANTS CALLS"},
		{Title: "SUPPRESSION"},
	}, rows)
}

func notifyText(n control.Notify) string {
	if n.Event == nil {
		return n.When
	}
	return "at " + placeText(*n.Event, n.Wrap)
}

func printRegions(w *layout.Page, regions []control.Region) {
	if len(regions) == 0 {
		return
	}
	fmt.Fprintln(w)
	var rows [][]string
	for _, r := range regions {
		rows = append(rows, []string{
			fmt.Sprintf("%#x", r.GuestAddr), fmt.Sprintf("%#x", r.UserAddr), size(r.Size), fmt.Sprintf("%#x", r.FileOffset), size(r.PageSize),
		})
	}
	w.Table([]layout.Column{number("GUEST ADDRESS"), number("USER ADDRESS"), number("SIZE"), number("FILE OFFSET"), {Title: "PAGES", Right: true, Omit: 1}}, rows)
}
