package vswitch

import (
	"cmp"
	"slices"
)

// FDBEvent is something that happened to addresses in the FDB.
type FDBEvent uint8

// Each event is counted at the port that it is about (Counters.FDB), and in total (Switch.FDBEvents).
// All but FDBStaticClaims, FDBLimited and FDBContended, which count frames, count entries.
const (
	FDBLearned      FDBEvent = iota // an entry was made from a source address
	FDBMoved                        // a learned entry came to this port from another
	FDBFlapped                      // of these: it had moved in the seconds before, too
	FDBExpired                      // an entry of this port was removed because of its age
	FDBEvicted                      // an entry of this port was removed to make room for another
	FDBStaticClaims                 // from this port, with a source address that is static behind another
	FDBLimited                      // not learned: max_macs, or too many evictions in this second
	FDBContended                    // not learned at once: the table was being changed
	FDBFull                         // not learned: nothing but static entries in the way
	numFDBEvents
)

var fdbEventNames = [numFDBEvents]string{
	FDBLearned:      "learned",
	FDBMoved:        "moved",
	FDBFlapped:      "flapped",
	FDBExpired:      "expired",
	FDBEvicted:      "evicted",
	FDBStaticClaims: "static_claims",
	FDBLimited:      "limited",
	FDBContended:    "contended",
	FDBFull:         "full",
}

// String returns the name under which the event appears in counters and metrics.
func (e FDBEvent) String() string {
	if e < numFDBEvents {
		return fdbEventNames[e]
	}
	return "unknown"
}

// FDBEvents are counts, by event.
type FDBEvents [numFDBEvents]uint64

// ByName returns all counts, those that are 0 included, by name of the event.
func (c FDBEvents) ByName() map[string]uint64 {
	m := make(map[string]uint64, len(c))
	for e, n := range c {
		m[FDBEvent(e).String()] = n
	}
	return m
}

// flapWindow is how long after an address has moved another move of it is a flap, in seconds. An
// address that follows a guest to another host moves once.
const flapWindow = 10

// A ConflictKind says what is wrong with an address.
type ConflictKind uint8

// Kinds of conflicts. Either has a loop between two ports as its likely cause, or two stations with
// one address.
const (
	ConflictFlap  ConflictKind = iota // learned addresses move to and fro between ports
	ConflictClaim                     // frames come in whose source address is static behind another port
)

// A Conflict is addresses that show up behind a port and behind another.
type Conflict struct {
	Port  string
	Kind  ConflictKind
	Count uint64 // of FDBFlapped or FDBStaticClaims at the port since the last call of Conflicts

	// One of the addresses, and the port behind which it was, or is for good. Other may be empty, if
	// that port has gone meanwhile.
	MAC   MAC
	VLAN  uint16
	Other string
}

// Conflicts returns what has happened at each port since the last call, by port and kind. It is
// for one caller, who calls it about once a second.
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
		for kind, e := range map[ConflictKind]FDBEvent{ConflictFlap: FDBFlapped, ConflictClaim: FDBStaticClaims} {
			now := v.counters.fdb[e].Load()
			n := now - p.reported[kind]
			p.reported[kind] = now
			if n == 0 {
				continue
			}
			c := Conflict{Port: v.cfg.Name, Kind: kind, Count: n}
			key, other := p.flapped, p.flappedFrom
			if kind == ConflictClaim {
				key = fdbKey(p.claimed.Load())
				other = t.holder(key.addr())
				if _, _, owner := t.get(key); owner != nil {
					other = owner.id
				}
			}
			c.MAC, c.VLAN, c.Other = key.addr().mac(), key.vlan(), name(other)
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Kind, b.Kind))
	})
	return list
}
