package control

import (
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

	// Port describes one port in detail. The error is ErrNotFound if no port has that name.
	Port(name string) (PortDetail, error)

	// Reasons returns the names of the reasons that ports of a kind count. A Tally may lack
	// reasons that have not occurred.
	Reasons(Kind) Reasons

	// FDB returns the entries that match the filter, in any order.
	FDB(FDBFilter) []FDBEntry

	// MDB returns the multicast database in a VLAN (negative: in all VLANs), sorted by VLAN.
	MDB(vlan int) MDB

	// AddMember adds a static member of a multicast group, and returns it. The error is ErrNotFound
	// if no port has that name; any other error says why the member is refused.
	AddMember(Member) (MDBEntry, error)

	// DeleteMember removes a static member, and returns it. The error is ErrNotFound if no port has
	// that name, and ErrNoMember if there is no such static member.
	DeleteMember(Member) (MDBEntry, error)

	// Mirrors returns all mirrors, in the order of the configuration.
	Mirrors() []Mirror
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
