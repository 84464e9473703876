package control

import "errors"

// Backend is the switch as the API needs it. Its methods are called by several
// goroutines at once, return snapshots that the caller may keep and change,
// and do not wait for guests or the network.
type Backend interface {
	// Switch describes the switch as a whole.
	Switch() SwitchStatus

	// Ports describes all ports, in the order of the configuration.
	Ports() []PortInfo

	// Port describes one port in detail. The error is ErrNotFound if there is
	// none of that name.
	Port(name string) (PortDetail, error)

	// Reasons returns the names under which ports of a kind count what goes wrong. A Tally
	// may lack those that have not occurred.
	Reasons(Kind) Reasons

	// FDB returns the entries that the filter lets through, in any order.
	FDB(FDBFilter) []FDBEntry
}

// Reasons are names of what ports count in Counters.Drops and Counters.Resets.
type Reasons struct {
	Drops, Resets []string
}

// FDBFilter chooses entries of the FDB.
type FDBFilter struct {
	Port string // only entries of this port; "": of all
	VLAN int    // only entries of this VLAN; negative: of all
}

// Match reports whether the filter lets an entry through.
func (f FDBFilter) Match(e *FDBEntry) bool {
	return (f.Port == "" || f.Port == e.Port) && (f.VLAN < 0 || e.All || f.VLAN == int(e.VLAN))
}

// ErrNotFound says that there is no port of that name.
var ErrNotFound = errors.New("no such port")
