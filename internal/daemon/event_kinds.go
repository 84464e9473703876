package daemon

import (
	"net"
	"strings"

	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// The switch's records and reports, as events of the control API.

// recordNames are the kinds and names of the events for records.
var recordNames = map[vswitch.RecordKind]struct {
	kind control.EventKind
	name string
}{
	vswitch.RecordLearned:       {control.EventFDB, "learned"},
	vswitch.RecordMoved:         {control.EventFDB, "moved"},
	vswitch.RecordExpired:       {control.EventFDB, "expired"},
	vswitch.RecordEvicted:       {control.EventFDB, "evicted"},
	vswitch.RecordAdded:         {control.EventFDB, "added"},
	vswitch.RecordRemoved:       {control.EventFDB, "removed"},
	vswitch.RecordFlushed:       {control.EventFDB, "flushed"},
	vswitch.RecordJoined:        {control.EventMDB, "joined"},
	vswitch.RecordLeft:          {control.EventMDB, "left"},
	vswitch.RecordMemberExpired: {control.EventMDB, "expired"},
	vswitch.RecordMemberAdded:   {control.EventMDB, "added"},
	vswitch.RecordMemberRemoved: {control.EventMDB, "removed"},
	vswitch.RecordMemberFlushed: {control.EventMDB, "flushed"},
}

func recordEvent(r *vswitch.Record) control.Event {
	is := recordNames[r.What]
	var detail control.EventDetail
	switch {
	case r.What == vswitch.RecordFlushed || r.What == vswitch.RecordMemberFlushed:
		detail = control.NewFlush(is.kind, r.Count, r.Cause.String())
	case is.kind == control.EventMDB:
		d := &control.MDBEvent{Group: r.Group.String(), VLAN: r.VLAN, Type: "dynamic"}
		if r.What == vswitch.RecordMemberAdded || r.What == vswitch.RecordMemberRemoved {
			d.Type = "static"
		}
		if r.Source.IsValid() {
			d.Source = r.Source.String()
		}
		detail = d
	default:
		detail = &control.FDBEvent{MAC: net.HardwareAddr(r.MAC[:]).String(), VLAN: r.VLAN, All: r.All, Type: r.Type.String(), From: r.Other}
	}
	e := control.NewEvent(is.kind, is.name, r.Port, detail)
	e.Time = r.At.UTC()
	return e
}

// reported publishes what the switch reports once a second.
func (s *eventSource) reported(conflicts []vswitch.Conflict, loops []vswitch.LoopReport) {
	for i := range conflicts {
		c := &conflicts[i]
		detail := &control.ConflictEvent{Count: c.Count, VLAN: c.VLAN, Other: c.Other}
		if c.MAC != (vswitch.MAC{}) {
			detail.MAC = c.MAC.String()
		}
		s.publish(control.EventConflict, conflictNames[c.Kind], c.Port, detail)
	}
	for i := range loops {
		r := &loops[i]
		s.publish(control.EventLoop, loopNames[r.Change], r.Port,
			&control.LoopEvent{Other: r.Other, VLAN: r.VLAN, ForS: int64(r.For.Seconds()), Probes: r.Count})
	}
}

var conflictNames = map[vswitch.ConflictKind]string{
	vswitch.ConflictFlap:  "flapping",
	vswitch.ConflictClaim: "claimed",
	vswitch.ConflictHeld:  "held",
	vswitch.ConflictLimit: "limited",
}

var loopNames = map[vswitch.LoopChange]string{
	vswitch.LoopBlocked:  "blocked",
	vswitch.LoopRemains:  "remains",
	vswitch.LoopReleased: "released",
	vswitch.LoopSeen:     "seen",
}

// maxEventLines is the most lines of one list in an event of kind config.
const maxEventLines = 100

// configured publishes that a request has changed the configuration, or was refused.
func (s *eventSource) configured(request string, change *control.ConfigChange, err error) {
	detail := &control.ConfigEvent{Request: request}
	name := map[string]string{"reload": "reloaded", "edit": "edited"}[request]
	if err != nil {
		name = "refused"
		detail.Reasons = bounded(strings.Split(strings.TrimSpace(err.Error()), "\n"))
	} else {
		detail.Changed, detail.Revision = bounded(change.Changed), change.Revision
	}
	s.publish(control.EventConfig, name, "", detail)
}

// bounded shortens a list of lines.
func bounded(lines []string) []string {
	if len(lines) > maxEventLines {
		return append(lines[:maxEventLines:maxEventLines], "and more")
	}
	return lines
}
