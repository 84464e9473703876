package control

import (
	"context"
	"slices"
	"time"
)

// Event is an element of the stream that answers GET /v1/events.
type Event struct {
	Time  time.Time `json:"time"`           // RFC 3339, UTC
	Kind  EventKind `json:"kind"`           // what it is about
	Event string    `json:"event"`          // what has happened: one of EventNames[Kind]
	Port  string    `json:"port,omitempty"` // that it is about, if it is about one
	Text  string    `json:"text"`           // the same in words, one line

	// Detail is a *PortEvent, *SessionEvent, *FDBEvent or *FlushEvent, *MDBEvent or *FlushEvent,
	// *LoopEvent, *ConflictEvent, *ConfigEvent, *CaptureEvent, or one of the Stream events, in the
	// order of EventKinds.
	Detail EventDetail `json:"detail"`
}

// EventDetail is what an event of a kind has besides what all have.
type EventDetail interface {
	// words describes an event of that name at a port in one line, without the name of the port.
	words(event string) string

	// others returns the names of ports that it is about, besides Event.Port.
	others() []string
}

// EventKind is what events are about.
type EventKind string

// Values of EventKind.
const (
	EventPort     EventKind = "port"
	EventSession  EventKind = "session"
	EventFDB      EventKind = "fdb"
	EventMDB      EventKind = "mdb"
	EventLoop     EventKind = "loop"
	EventConflict EventKind = "conflict"
	EventConfig   EventKind = "config"
	EventCapture  EventKind = "capture"
	EventStream   EventKind = "stream" // about the stream itself; every listener gets these
)

// EventKinds are the values of EventKind that a listener can choose.
var EventKinds = []EventKind{EventPort, EventSession, EventFDB, EventMDB, EventLoop, EventConflict, EventConfig, EventCapture}

// EventPresent is the name of the events of a snapshot: they say what there is, not what has
// happened.
const EventPresent = "present"

// EventNames are the values of Event.Event, by kind.
var EventNames = map[EventKind][]string{
	EventPort:     {"added", "removed", "renamed", "reconfigured", "state", EventPresent},
	EventSession:  {"connected", "running", "waiting", "hint", "disconnected", "reset"},
	EventFDB:      {"learned", "moved", "expired", "evicted", "added", "removed", "flushed", EventPresent},
	EventMDB:      {"joined", "left", "expired", "added", "removed", "flushed", EventPresent},
	EventLoop:     {"blocked", "remains", "released", "seen"},
	EventConflict: {"flapping", "claimed", "held", "limited", "throttled", "full"},
	EventConfig:   {"reloaded", "edited", "refused"},
	EventCapture:  {"started", "ended"},
	EventStream:   {"started", "synced", "lost", "ended"},
}

// NewEvent makes an event that happens now.
func NewEvent(kind EventKind, event, port string, detail EventDetail) Event {
	e := Event{Time: time.Now().UTC(), Kind: kind, Event: event, Port: port, Detail: detail}
	e.Text = detail.words(event)
	return e
}

// EventFilter selects events.
type EventFilter struct {
	Kinds []EventKind // nil: all
	Port  string      // only events that are about this port; "": all
}

// Wants reports whether events of a kind can match the filter.
func (f EventFilter) Wants(k EventKind) bool { return f.Kinds == nil || slices.Contains(f.Kinds, k) }

// Match reports whether an event matches the filter.
func (f EventFilter) Match(e *Event) bool {
	return f.Wants(e.Kind) && (f.Port == "" || f.Port == e.Port || slices.Contains(e.Detail.others(), f.Port))
}

// PortEvent is the detail of an event of kind port.
type PortEvent struct {
	PortKind Kind         `json:"port_kind"`
	State    State        `json:"state,omitempty"`  // not of "removed"
	Was      State        `json:"was,omitempty"`    // of "state": the state before
	Reason   string       `json:"reason,omitempty"` // of the state, if there is one: last_error or loop
	From     string       `json:"from,omitempty"`   // of "renamed": the name before
	Keys     List[string] `json:"keys,omitempty"`   // of "reconfigured": the keys that have changed
}

// SessionEvent is the detail of an event of kind session.
type SessionEvent struct {
	Number  uint64 `json:"number,omitempty"`   // of the session, counted from 1 at each port; 0: not told
	PeerPID int    `json:"peer_pid,omitempty"` // process that is connected, if known
	AgeS    int64  `json:"age_s"`              // whole seconds since the session began
	Reason  string `json:"reason,omitempty"`   // why the session has ended
	Reset   string `json:"reset,omitempty"`    // of "reset": the name under which it is counted
	Hint    string `json:"hint,omitempty"`     // of "hint": what is likely wrong

	HintCause HintCause `json:"hint_cause,omitempty"` // of "hint": the same for programs
}

// FDBEvent is the detail of an event of kind fdb that is about one entry.
type FDBEvent struct {
	MAC  string `json:"mac"` // lower case, with colons
	VLAN uint16 `json:"vlan"`
	All  bool   `json:"all_vlans"`      // valid in every VLAN
	Type string `json:"type"`           // one of FDBTypes
	From string `json:"from,omitempty"` // of "moved": the port behind which it was
}

// FlushEvent is the detail of an event of kind fdb or mdb that is about several entries of a port.
type FlushEvent struct {
	Removed int    `json:"removed"` // entries
	Cause   string `json:"cause"`
	what    string
}

// MDBEvent is the detail of an event of kind mdb that is about one membership.
type MDBEvent struct {
	Group  string `json:"group"` // IP address
	VLAN   uint16 `json:"vlan"`
	Type   string `json:"type"`             // "dynamic" or "static"
	Source string `json:"source,omitempty"` // of a static one: the one source, an IP address
}

// LoopEvent is the detail of an event of kind loop.
type LoopEvent struct {
	Other  string `json:"other"` // the other port of the loop; the port itself if the loop is behind it
	VLAN   uint16 `json:"vlan"`
	ForS   int64  `json:"for_s,omitempty"`  // of "blocked" and "remains": how long from now, in whole seconds
	Probes uint64 `json:"probes,omitempty"` // of "seen": how many came back
}

// ConflictEvent is the detail of an event of kind conflict.
type ConflictEvent struct {
	Count uint64 `json:"count"`           // moves for "flapping", frames for others, since about a second
	MAC   string `json:"mac,omitempty"`   // one of the addresses, if known
	VLAN  uint16 `json:"vlan"`            // of that
	Other string `json:"other,omitempty"` // the port behind which the address was, is static or is held
}

// ConfigEvent is the detail of an event of kind config.
type ConfigEvent struct {
	Request  string       `json:"request"`  // "reload" or "edit"
	Changed  List[string] `json:"changed"`  // one line for each change
	Reasons  List[string] `json:"reasons"`  // of "refused"
	Revision string       `json:"revision"` // of what runs now; not told of "refused"
}

// CaptureEvent is the detail of an event of kind capture.
type CaptureEvent struct{ Capture }

// StreamEvent is the detail of an event of kind stream.
type StreamEvent struct {
	Version string          `json:"version,omitempty"`  // of "started": of vswitchd
	UptimeS int64           `json:"uptime_s,omitempty"` // of "started": whole seconds
	Kinds   List[EventKind] `json:"kinds,omitempty"`    // of "started": those that are listened to
	Lost    Tally           `json:"lost,omitempty"`     // of "lost": events by kind
	Reason  string          `json:"reason,omitempty"`   // of "ended"
}

// An EventListener is the queue of a listener. Its methods are called by one goroutine.
type EventListener interface {
	// Next waits until something is in the queue, and empties the queue. The error is that of ctx,
	// or ErrStreamOver if no event will come any more.
	Next(ctx context.Context) ([]QueuedEvent, error)

	// Close gives the queue back.
	Close()
}

// A QueuedEvent is an event that waits for a listener.
type QueuedEvent struct {
	Number uint64 // among those for the listener, lost ones included, from 1
	Kind   EventKind
	Data   []byte // the event in JSON; shared, not to be changed
	Lost   Tally  // nil, or, instead of an event: the events by kind that are missing here
}
