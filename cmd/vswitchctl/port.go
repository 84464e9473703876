package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
)

// This file is `port show NAME`: the whole description of a port, in tables.

func printPort(w *layout.Page, p control.PortDetail) {
	rows := []string{
		"name", p.Name,
		"kind", string(p.Kind),
		"state", string(p.State),
		"loop", loopText(p.Loop),
		"last error", p.LastError,
		"hint", p.Hint,
		"interface", p.Interface,
		"addresses", strings.Join(p.Addresses, " "),
		"receives", receptionText(p.Reception),
		"announced", announcedText(p.Announced),
		"socket", p.Socket,
		"mode", p.Mode,
		"queues", strconv.Itoa(p.Queues),
		"mtu", unlessZero(p.MTU),
		"mac", p.MAC,
		"host macs", strings.Join(p.HostMACs, " "),
		"fdb", fmt.Sprintf("%d learned, %d static", p.FDB.Dynamic, p.FDB.Static),
		"vlan", vlanText(p.VLAN),
		"tags", tagText(p.Settings),
		"flags", flagText(p.Flags),
		"offloads", offloadText(&p.PortInfo),
		"features", strings.Join(p.Features, " "),
		"protocol", strings.Join(p.ProtocolFeatures, " "),
	}
	fields(w, append(rows, otherSettings(&p.PortInfo)...)...)
	printSession(w, &p)
	fmt.Fprintln(w)
	printCounters(w, p.Kind, p.Counters)
	printRings(w, p.Rings)
	printRegions(w, p.Regions)
	printBits(w, "FEATURE", p.FeatureBits)
	printBits(w, "PROTOCOL FEATURE", p.ProtocolFeatureBits)
}

// covered are the settings that rows of printPort and printSession show, and those that are visible
// in the socket's file.
var covered = []string{
	"interface", "addresses", "promiscuous", "socket", "socket_owner", "socket_group", "socket_mode", "mode", "queues", "mtu", "mac", "offloads",
	"max_memory", "disk_memory", "tag", "trunks", "vlan_mode", "cvlans",
	"qinq_ethtype", "priority", "priority_override", "priority_tags",
}

// tagText returns the settings that say what the tags of frames are like, unless they are the
// defaults.
func tagText(s control.Settings) string {
	var parts []string
	if s.Get("qinq_ethtype") == "802.1q" {
		parts = append(parts, "outer tag 802.1q")
	}
	p, override := cmp.Or(s.Get("priority"), "0"), s.Get("priority_override") == "true"
	switch {
	case override:
		parts = append(parts, "priority always "+p)
	case p != "0":
		parts = append(parts, "priority "+p)
	}
	if t := cmp.Or(s.Get("priority_tags"), "keep"); t != "keep" {
		parts = append(parts, "priority tags "+t)
	}
	return strings.Join(parts, ", ")
}

// otherSettings returns rows for the settings that no other row shows.
func otherSettings(p *control.PortInfo) (rows []string) {
	for _, s := range p.Settings {
		if !slices.Contains(covered, s.Key) && !slices.ContainsFunc(p.Flags, func(f control.Setting) bool { return f.Key == s.Key }) {
			rows = append(rows, strings.ReplaceAll(s.Key, "_", " "), fmt.Sprint(s.Value))
		}
	}
	return rows
}

// loopText says why a port is blocked.
func loopText(l *control.Loop) string {
	if l == nil {
		return ""
	}
	return fmt.Sprintf("with port %s in VLAN %d: blocked for %s, for %s more if the loop is gone then", l.Port, l.VLAN, seconds(l.SinceS), seconds(l.ExpireS))
}

// receptionText describes the frames that an uplink's interface receives.
func receptionText(r *control.Reception) string {
	if r == nil {
		return ""
	}
	s := "all frames"
	if !r.Promiscuous {
		s = fmt.Sprintf("frames to itself, to groups and to %d stations", r.Addresses)
	}
	if r.LeftOut > 0 {
		s += fmt.Sprintf(", and not to %d more", r.LeftOut)
	}
	if r.LRO {
		s += "; large receive offload is on and damages some"
	}
	return s
}

// announcedText says how often stations were announced on an uplink.
func announcedText(n uint64) string {
	if n == 0 {
		return ""
	}
	return count(n) + " times a station"
}

// offloadText returns the names of the offloads that a guest is offered.
func offloadText(p *control.PortInfo) string {
	if p.Kind == control.KindGuest && len(p.Offloads) == 0 {
		return "none"
	}
	return strings.Join(p.Offloads, " ")
}

func printSession(w *layout.Page, p *control.PortDetail) {
	var pairs []string
	if s := p.Session; s != nil {
		pairs = append(pairs,
			"session", sessionText(s),
			"device status", statusText(s.DeviceStatus),
			"channel", s.BackendChannel,
			"dirty log", dirtyLogText(s.DirtyLog),
			"in-flight record", inFlightText(s.InFlight),
		)
		if c := s.ControlQueue; c != nil {
			pairs = append(pairs, controlFields(c)...)
		}
	}
	if m := p.Memory; m != nil {
		pairs = append(pairs, "memory", fmt.Sprintf("%s of %s mapped, up to %d regions", size(m.Mapped), size(m.Max), m.Slots))
	}
	if n := p.SlowedMessages; n > 0 {
		pairs = append(pairs, "slowed messages", count(n))
	}
	if e := p.LastEnd; e != nil {
		pairs = append(pairs, "last session", fmt.Sprintf("ended %s ago: %s", seconds(e.AgoS), e.Reason))
	}
	if len(pairs) > 0 {
		fmt.Fprintln(w)
		fields(w, pairs...)
	}
}

func sessionText(s *control.Session) string {
	text := fmt.Sprintf("%s, front-end %s of this port", seconds(s.AgeS), count(s.Number))
	if s.PeerPID != 0 {
		text += fmt.Sprintf(", process %d", s.PeerPID)
	}
	if s.OtherWaiting {
		text += "; another front-end is waiting"
	}
	return text
}

func seconds(n int64) string { return (time.Duration(n) * time.Second).String() }

func statusText(s control.DeviceStatus) string {
	if s.Value == 0 {
		return "none, or not reported"
	}
	return fmt.Sprintf("%#x %s", s.Value, strings.Join(s.Names, " "))
}

func dirtyLogText(l control.DirtyLog) string {
	s := "off"
	if l.On {
		s = "on"
	}
	if !l.Present {
		return s + ", no memory"
	}
	return fmt.Sprintf("%s, %s at offset %#x", s, size(l.Size), l.Offset)
}

func inFlightText(r control.InFlight) string {
	if !r.Present {
		return "none"
	}
	return fmt.Sprintf("%d rings of %d, %s at offset %#x", r.Rings, r.QueueSize, size(r.Size), r.Offset)
}

// controlFields returns the results of a driver's commands, by name.
func controlFields(c *control.ControlQueue) []string {
	receives := append(append(slices.Clone([]string(c.Receives)), c.Unicast...), c.Multicast...)
	if len(receives) == 0 {
		receives = []string{"nothing"}
	}
	vlans := "all"
	if c.VLANs != nil {
		vlans = "none"
		if len(*c.VLANs) > 0 {
			vlans = strings.Trim(fmt.Sprint(*c.VLANs), "[]")
		}
	}
	off := "none"
	if len(c.OffloadsOff) > 0 {
		off = strings.Join(c.OffloadsOff, " ")
	}
	return []string{
		"control queue", fmt.Sprintf("ring %d, %s commands, %s of them refused, %d queue pairs in use", c.Ring, count(c.Commands), count(c.Refused), c.QueuePairs),
		"driver receives", strings.Join(receives, " "),
		"driver's vlans", vlans,
		"offloads turned off", off,
	}
}

func printBits(w *layout.Page, what string, bits []control.FeatureBit) {
	if len(bits) == 0 {
		return
	}
	fmt.Fprintln(w)
	var rows [][]string
	for _, b := range bits {
		acked := "no"
		if b.Acked {
			acked = "yes"
		}
		rows = append(rows, []string{strconv.Itoa(b.Bit), b.Name, acked})
	}
	w.Table([]layout.Column{number("BIT"), {Title: what}, {Title: "ACKNOWLEDGED"}}, rows)
}
