package vswitch

import (
	"cmp"
	"slices"
)

// FDBEvent is a kind of event in the FDB.
type FDBEvent uint8

// Each event is counted at the port that it is about (Counters.FDB), and in total
// (Switch.FDBEvents). All but FDBStaticClaims, FDBHeld, FDBLimited and FDBContended, which
// count frames, count entries.
const (
	FDBLearned      FDBEvent = iota // an entry was made from a source address
	FDBMoved                        // a learned entry moved to this port from another
	FDBFlapped                      // of these: the entry had also moved in the flapWindow before
	FDBExpired                      // an entry of this port was removed because of its age
	FDBEvicted                      // an entry of this port was removed to make room for another
	FDBStaticClaims                 // a source address of this port is static behind another
	FDBHeld                         // a source address of this port has moved too often, and stays elsewhere
	FDBLimited                      // not learned: the port's limit, or too many evictions
	FDBContended                    // not learned at once: another goroutine was changing the table
	FDBFull                         // not learned: only static entries could have made room
	numFDBEvents
)

var fdbEventNames = [numFDBEvents]string{
	FDBLearned:      "learned",
	FDBMoved:        "moved",
	FDBFlapped:      "flapped",
	FDBExpired:      "expired",
	FDBEvicted:      "evicted",
	FDBStaticClaims: "static_claims",
	FDBHeld:         "held",
	FDBLimited:      "limited",
	FDBContended:    "contended",
	FDBFull:         "full",
}

// String returns the name under which the event appears in counters and metrics.
func (e FDBEvent) String() string { return nameOf(e, fdbEventNames[:]) }

// FDBEvents are the counts of all events, indexed by FDBEvent.
type FDBEvents [numFDBEvents]uint64

// ByName returns all counts, zeros included, by the name of the event.
func (c FDBEvents) ByName() map[string]uint64 { return byName(c[:], fdbEventNames[:]) }

// flapWindow is the time after a move of an entry in which another move of the same entry is a
// flap, in seconds. The address of a guest that migrates to another host moves once.
const flapWindow = 10

// With FDBConfig.HoldDown, an address stays where it is after moveLimit moves within moveWindow
// seconds. The numbers are those by which EVPN detects duplicate addresses (RFC 7432, section
// 15.1).
const (
	moveLimit  = 5
	moveWindow = 180
)

// A ConflictKind is a kind of Conflict.
type ConflictKind uint8

// Kinds of conflicts. The likely cause of the first three is a loop between two ports, or two
// stations with the same address.
const (
	ConflictFlap  ConflictKind = iota // learned addresses move back and forth between ports
	ConflictClaim                     // source addresses are static behind another port
	ConflictHeld                      // source addresses are held behind another port
	ConflictLimit                     // the port has PortConfig.MaxMACs addresses, and sends from others
)

// conflictEvents are the events that are conflicts.
var conflictEvents = [...]FDBEvent{FDBFlapped, FDBStaticClaims, FDBHeld, FDBLimited}

// A Conflict is that the same addresses are seen behind two ports, or too many behind one.
type Conflict struct {
	Port  string
	Kind  ConflictKind
	Count uint64 // of the event at the port since the last call of Conflicts

	// One of the addresses, and the other port: the port at which the address was before, or at
	// which it is static or held. Other is empty if there is none, or if it has been detached
	// meanwhile.
	MAC   MAC
	VLAN  uint16
	Other string
}

// Conflicts returns the conflicts at each port since the last call, sorted by port and kind. There
// can be only one caller, which calls about once a second.
func (s *Switch) Conflicts() (list []Conflict) {
	set, t := s.set.Load(), s.fdb
	t.mu.Lock()
	defer t.mu.Unlock()
	name := func(id portID) string {
		if v := set.get(id); v != nil {
			return v.cfg.Name
		}
		return ""
	}
	for _, v := range set.all {
		p := v.fdb
		for kind, e := range conflictEvents {
			now := v.counters.fdb[e].Load()
			n := now - p.reported[e]
			p.reported[e] = now
			if n == 0 {
				continue
			}
			kind := ConflictKind(kind)
			key, other := p.conflict(kind, t)
			if kind == ConflictClaim && other == blackhole || kind == ConflictLimit && !p.atLimit() {
				continue
			}
			list = append(list, Conflict{
				Port: v.cfg.Name, Kind: kind, Count: n, MAC: key.addr().mac(), VLAN: key.vlan(), Other: name(other),
			})
		}
	}
	slices.SortFunc(list, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Kind, b.Kind))
	})
	return list
}

// conflict returns the last address for which a kind of conflict was counted at p, and the other
// port.
func (p *fdbPort) conflict(kind ConflictKind, t *fdb) (k fdbKey, other portID) {
	switch kind {
	case ConflictFlap:
		return p.flapped, p.flappedFrom
	case ConflictLimit:
		return fdbKey(p.limited.Load()), 0
	case ConflictHeld:
		k = p.held
	default:
		k = fdbKey(p.claimed.Load())
	}
	if _, _, owner := t.get(k); owner != nil {
		return k, owner.id
	}
	return k, t.holder(k.addr())
}
