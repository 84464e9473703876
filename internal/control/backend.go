package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
)

// Backend is the switch as the API needs it. Its methods are called by several goroutines at once,
// return snapshots that the caller may keep and change, and do not wait for guests or the network.
type Backend interface {
	// Switch describes the switch as a whole.
	Switch() SwitchStatus

	// Ports describes all ports, in the order of the configuration.
	Ports() []PortInfo

	// Stats returns the figures of all ports, in the same order. It costs a fraction of Ports.
	Stats() []PortStats

	// StatsSinceReset is Stats with counters that begin at 0 at the port's last ResetStats.
	StatsSinceReset() []PortStats

	// ResetStats resets the counters of a port ("": of all ports at once) for StatsSinceReset, and
	// returns of how many ports. The error is ErrNotFound if no port has that name.
	ResetStats(port string) (int, error)

	// Port describes one port in detail. The error is ErrNotFound if no port has that name.
	Port(name string) (PortDetail, error)

	// Reasons returns the names of the reasons that ports of a kind count. A Tally may lack
	// reasons that have not occurred.
	Reasons(Kind) Reasons

	// FDB returns the entries that match the filter, in any order.
	FDB(FDBFilter) []FDBEntry

	// AddFDB adds an entry, and returns it. The error is ErrNotFound if no port has that name; any
	// other error says why the entry is refused.
	AddFDB(FDBAddition) (FDBEntry, error)

	// DeleteFDB removes the entry of an address in a VLAN (negative: its only entry). The error is
	// ErrNoEntry if there is none; any other error says why the entry cannot be removed.
	DeleteFDB(mac MAC, vlan int) error

	// FlushFDB removes all entries that match the filter and have one of the types, except those of
	// the configuration of ports, and returns how many it has removed. The error is ErrNotFound if
	// no port has that name.
	FlushFDB(f FDBFilter, types []string) (int, error)

	// MDB returns the multicast database in a VLAN (negative: in all VLANs), sorted by VLAN.
	MDB(vlan int) MDB

	// AddMember adds a static member of a multicast group, and returns it. The error is ErrNotFound
	// if no port has that name; any other error says why the member is refused.
	AddMember(Member) (MDBEntry, error)

	// DeleteMember removes a static member, and returns it. The error is ErrNotFound if no port has
	// that name, and ErrNoMember if there is no such static member.
	DeleteMember(Member) (MDBEntry, error)

	// Neighbors returns the neighbor table in a VLAN (negative: in all VLANs), sorted by VLAN and
	// IP address.
	Neighbors(vlan int) []Neighbor

	// Mirrors returns all mirrors, in the order of the configuration.
	Mirrors() []Mirror

	// Captures describes the captures that run, the oldest first.
	Captures() []Capture

	// Capture begins a capture. The error wraps ErrMalformed if the filter is no valid program, is
	// ErrNotFound if a port does not exist, or says why the capture is refused.
	Capture(CaptureRequest) (CaptureStream, error)

	// StopCapture makes a capture end in order, and describes it. The error is ErrNoCapture if
	// there is none with that id.
	StopCapture(id int) (Capture, error)

	// Listen begins to queue the events that match a filter. The error wraps ErrBusy if there are
	// too many listeners.
	Listen(EventFilter) (EventListener, error)

	// State returns the state that another process would take over, as JSON.
	State() (json.RawMessage, error)

	// Trace returns what would happen to a frame that came from a port, without any effect. The
	// error is ErrNotFound if no port has that name.
	Trace(port string, frame []byte) ([]TraceStep, error)

	// Next waits until ctx is done for a frame from a port that a program selects (empty: any), and
	// returns the frame and what has happened to it. The frame is empty if none came. The error is
	// ErrNotFound if no port has that name, wraps ErrMalformed if the program is not valid, or says
	// why the request is refused.
	Next(ctx context.Context, port string, program [][4]uint32) (frame []byte, steps []TraceStep, err error)

	// Filters returns all filters, in the order of the configuration.
	Filters() []Filter

	// Sets returns all sets of addresses and ports, in the order of the configuration.
	Sets() []Set

	// ChangeSet changes a set and returns what it is then. The error is ErrNoSet if no set has that
	// name, wraps ErrMalformed if the change cannot be read, or says why it is refused. After an
	// error the set is as before.
	ChangeSet(name string, change SetChange) (Set, error)
}

// Reasons are the keys of Counters.Drops and Counters.Resets.
type Reasons struct {
	Drops, Resets []string
}

// FDBFilter selects entries of the FDB.
type FDBFilter struct {
	Port string // only entries of this port; "": all
	VLAN int    // only entries of this VLAN; negative: all
}

// Match reports whether an entry matches the filter.
func (f FDBFilter) Match(e *FDBEntry) bool {
	return (f.Port == "" || f.Port == e.Port) && (f.VLAN < 0 || e.All || f.VLAN == int(e.VLAN))
}

// A Member is a port that is a static member of a multicast group.
type Member struct {
	Group  netip.Addr
	Source netip.Addr // invalid: all sources
	Port   string
	VLAN   int // negative: that of the port's untagged frames
}

// ErrNotFound says that no port has that name.
var ErrNotFound = errors.New("no such port")

// ErrNoMember says that a port is no static member of a group.
var ErrNoMember = errors.New("no such static member")

// A MAC is an Ethernet address.
type MAC = [6]byte

// FDBAddition is an entry to be added to the FDB.
type FDBAddition struct {
	MAC  MAC
	Port string // "": the entry is a blackhole
	VLAN int    // negative: that of the port's untagged frames; of a blackhole: all
	Type string // one of FDBTypes
}

// FDBTypes are the values of FDBEntry.Type.
var FDBTypes = []string{"dynamic", "static", "sticky", "blackhole"}

// ErrNoEntry says that there is no such entry in the FDB.
var ErrNoEntry = errors.New("no such FDB entry")

// ErrNoFilter and ErrNoSet say that no filter, and no set, has that name.
var (
	ErrNoFilter = errors.New("no such filter")
	ErrNoSet    = errors.New("no such set")
)

// ErrNoCapture says that no capture with that id is running.
var ErrNoCapture = errors.New("no such capture")

// ErrBusy says that there are as many listeners to events as there can be.
var ErrBusy = errors.New("too many listeners to events")

// ErrStreamOver says that no event will come any more, because vswitchd is stopping.
var ErrStreamOver = errors.New("vswitchd is stopping")

// ErrMalformed says that a request cannot be read.
var ErrMalformed = errors.New("malformed request")
