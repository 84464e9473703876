package vswitch

// McastEvent is a kind of event in multicast snooping.
type McastEvent uint8

// Each event is counted at the port that it is about (Counters.Mcast), and in total
// (Switch.McastEvents).
const (
	McastJoined      McastEvent = iota // a port became a member of a group
	McastLeft                          // a membership was removed at once (PortConfig.McastFastLeave)
	McastExpired                       // a membership was removed because no report has renewed it
	McastQueries                       // queries received from the port
	McastReports                       // reports and leave messages received from the port
	McastMalformed                     // malformed messages, which teach nothing
	McastTruncated                     // reports that are too long to be read to their end
	McastLimited                       // changes not made: a limit of groups, or of changes a second
	McastQueriesSent                   // queries of the switch itself, sent to the port
	McastContended                     // messages not learned from: the MDB was locked for too long
	numMcastEvents
)

var mcastEventNames = [numMcastEvents]string{
	McastJoined:      "joined",
	McastLeft:        "left",
	McastExpired:     "expired",
	McastQueries:     "queries",
	McastReports:     "reports",
	McastMalformed:   "malformed",
	McastTruncated:   "truncated",
	McastLimited:     "limited",
	McastQueriesSent: "queries_sent",
	McastContended:   "contended",
}

// String returns the name under which the event appears in counters and metrics.
func (e McastEvent) String() string { return nameOf(e, mcastEventNames[:]) }

// McastEvents are the counts of all events, indexed by McastEvent.
type McastEvents [numMcastEvents]uint64

// ByName returns all counts, zeros included, by the name of the event.
func (c McastEvents) ByName() map[string]uint64 { return byName(c[:], mcastEventNames[:]) }

// Mcast returns how often each event of multicast snooping has happened at this port.
func (c *Counters) Mcast() (events McastEvents) {
	loadAll(events[:], c.mcast[:])
	return events
}

// McastEvents returns how often each event of multicast snooping has happened, summed over all
// ports, detached ones included.
func (s *Switch) McastEvents() (events McastEvents) {
	loadAll(events[:], s.mdb.stats[:])
	return events
}

// count counts an event at the port with counters c.
func (m *mdb) count(c *Counters, e McastEvent) {
	c.mcast[e].Add(1)
	m.stats[e].Add(1)
}
