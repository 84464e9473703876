package control

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Events in words.

func (d *PortEvent) words(event string) string {
	switch event {
	case "state":
		return fmt.Sprintf("%s -> %s%s", d.Was, d.State, inBrackets(d.Reason))
	case "renamed":
		return "renamed, was " + d.From
	case "reconfigured":
		return "reconfigured: " + strings.Join(d.Keys, ", ")
	case "removed":
		return "removed"
	}
	return fmt.Sprintf("%s: %s, %s%s", event, d.PortKind, d.State, inBrackets(d.Reason))
}

func (d *PortEvent) others() []string { return []string{d.From} }

// inBrackets returns text behind other text, if there is any.
func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

func (d *SessionEvent) words(event string) string {
	switch event {
	case "connected":
		if d.PeerPID != 0 {
			return fmt.Sprintf("front-end connected, process %d", d.PeerPID)
		}
		return "front-end connected"
	case "running":
		return "the guest's driver runs: frames can pass"
	case "waiting":
		return "another front-end waits for the port"
	case "hint":
		return "likely wrong: " + d.Hint
	case "reset":
		return "front-end was disconnected: " + d.Reason
	}
	return "front-end left" + inBrackets(d.Reason)
}

func (d *SessionEvent) others() []string { return nil }

func (d *FDBEvent) words(event string) string {
	text := fmt.Sprintf("%s %s%s", event, d.MAC, inVLAN(d.VLAN, d.All))
	if d.Type != "dynamic" {
		text += ", " + d.Type
	}
	if d.From != "" {
		text += " from " + d.From
	}
	return text
}

func (d *FDBEvent) others() []string { return []string{d.From} }

// inVLAN names a VLAN behind other text; 0 is that of frames without a tag.
func inVLAN(vlan uint16, all bool) string {
	switch {
	case all:
		return " in every VLAN"
	case vlan == 0:
		return ""
	}
	return fmt.Sprintf(" in VLAN %d", vlan)
}

func (d *FlushEvent) words(event string) string {
	return fmt.Sprintf("%s %d %s (%s)", event, d.Removed, d.what, d.Cause)
}

func (d *FlushEvent) others() []string { return nil }

// NewFlush makes the detail of an event of a kind.
func NewFlush(kind EventKind, removed int, cause string) *FlushEvent {
	what := "entries"
	if kind == EventMDB {
		what = "memberships"
	}
	return &FlushEvent{Removed: removed, Cause: cause, what: what}
}

func (d *MDBEvent) words(event string) string {
	text := fmt.Sprintf("%s %s%s", event, d.Group, inVLAN(d.VLAN, false))
	if d.Source != "" {
		text += " from " + d.Source
	}
	if d.Type != "dynamic" {
		text += ", " + d.Type
	}
	return text
}

func (d *MDBEvent) others() []string { return nil }

func (d *LoopEvent) words(event string) string {
	in := fmt.Sprintf("%s, VLAN %d", d.Other, d.VLAN)
	switch event {
	case "blocked":
		return fmt.Sprintf("blocked for %d s: loop with %s", d.ForS, in)
	case "remains":
		return fmt.Sprintf("stays blocked for %d s: loop with %s", d.ForS, in)
	case "released":
		return "no longer blocked: the loop with " + in + " is gone"
	}
	return fmt.Sprintf("%d probes came back, and no port is blocked: loop with %s", d.Probes, in)
}

func (d *LoopEvent) others() []string { return []string{d.Other} }

func (d *ConflictEvent) words(event string) string {
	where := d.MAC + inVLAN(d.VLAN, false)
	switch event {
	case "flapping":
		return fmt.Sprintf("addresses move back and forth, %d times: %s, also behind %s", d.Count, where, d.Other)
	case "claimed":
		return fmt.Sprintf("%d frames from an address of port %s: %s", d.Count, d.Other, where)
	case "held":
		return fmt.Sprintf("%d frames from an address that moves too often, and stays behind %s: %s", d.Count, d.Other, where)
	case "limited":
		return fmt.Sprintf("%d frames from addresses beyond max_macs: %s", d.Count, where)
	case "throttled":
		return fmt.Sprintf("%d frames from new addresses, which are not learned: too many evictions", d.Count)
	}
	return fmt.Sprintf("%d frames from new addresses, which are not learned: the FDB is full of static entries", d.Count)
}

func (d *ConflictEvent) others() []string { return []string{d.Other} }

func (d *ConfigEvent) words(event string) string {
	switch {
	case event == "refused":
		return d.Request + " refused: " + strings.Join(d.Reasons, "; ")
	case len(d.Changed) == 0:
		return event + ", nothing has changed"
	}
	return event + ": " + strings.Join(d.Changed, "; ")
}

func (d *ConfigEvent) others() []string { return nil }

func (d *CaptureEvent) words(event string) string {
	at := strings.Join(d.Ports, ",")
	if d.All {
		at = "all ports"
	}
	if event == "started" {
		return fmt.Sprintf("capture %d started at %s", d.ID, at)
	}
	return fmt.Sprintf("capture %d ended at %s: %d captured, %d lost", d.ID, at, d.Captured, d.Lost)
}

func (d *CaptureEvent) others() []string { return d.Ports }

func (d *StreamEvent) words(event string) string {
	switch event {
	case "started":
		return "listening to vswitchd " + d.Version
	case "synced":
		return "what was present has been told"
	case "lost":
		text := fmt.Sprintf("%d events lost:", d.Lost.Total())
		for _, kind := range slices.Sorted(maps.Keys(d.Lost)) {
			text += fmt.Sprintf(" %d %s", d.Lost[kind], kind)
		}
		return text
	}
	return "ended: " + d.Reason
}

func (d *StreamEvent) others() []string { return nil }
