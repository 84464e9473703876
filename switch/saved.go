package vswitch

import (
	"slices"
	"sync/atomic"
)

// This file makes a switch continue what another one has begun, in another process: see package
// internal/handover.

// SavedCounters are the values of Counters, by name where there are names.
type SavedCounters struct {
	RxFrames uint64            `json:"rx_frames"`
	RxBytes  uint64            `json:"rx_bytes"`
	TxFrames uint64            `json:"tx_frames"`
	TxBytes  uint64            `json:"tx_bytes"`
	Drops    map[string]uint64 `json:"drops,omitempty"`
	FDB      map[string]uint64 `json:"fdb,omitempty"`
	Mcast    map[string]uint64 `json:"mcast,omitempty"`
	Neigh    map[string]uint64 `json:"neigh,omitempty"`
	Loops    map[string]uint64 `json:"loops,omitempty"`
}

// Save returns the values of the counters.
func (c *Counters) Save() SavedCounters {
	return SavedCounters{
		RxFrames: c.RxFrames.Load(), RxBytes: c.RxBytes.Load(), TxFrames: c.TxFrames.Load(), TxBytes: c.TxBytes.Load(),
		Drops: saveCounts(c.drops[:], dropNames[:]),
		FDB:   saveCounts(c.fdb[:], fdbEventNames[:]),
		Mcast: saveCounts(c.mcast[:], mcastEventNames[:]),
		Neigh: saveCounts(c.neigh[:], neighEventNames[:]),
		Loops: saveCounts(c.loops[:], loopEventNames[:]),
	}
}

// Restore adds the values that Save has returned. Names that this version does not know are left
// out.
func (c *Counters) Restore(s *SavedCounters) {
	c.RxFrames.Add(s.RxFrames)
	c.RxBytes.Add(s.RxBytes)
	c.TxFrames.Add(s.TxFrames)
	c.TxBytes.Add(s.TxBytes)
	addCounts(c.drops[:], dropNames[:], s.Drops)
	addCounts(c.fdb[:], fdbEventNames[:], s.FDB)
	addCounts(c.mcast[:], mcastEventNames[:], s.Mcast)
	addCounts(c.neigh[:], neighEventNames[:], s.Neigh)
	addCounts(c.loops[:], loopEventNames[:], s.Loops)
}

// saveCounts returns the counts that are not zero, by name.
func saveCounts(counters []atomic.Uint64, names []string) map[string]uint64 {
	m := make(map[string]uint64)
	for i := range counters {
		if n := counters[i].Load(); n > 0 {
			m[names[i]] = n
		}
	}
	return m
}

func addCounts(counters []atomic.Uint64, names []string, saved map[string]uint64) {
	for i := range counters {
		counters[i].Add(saved[names[i]])
	}
}

// RestoreFDB makes the FDB have the entries that FDB has returned in another process, with their
// ages, and no others of an operator: what is configured may have been removed by hand. It returns
// the number of entries for which there is no place, or no port. Pinned entries are left as they
// are.
func (s *Switch) RestoreFDB(entries []FDBEntry) (missing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.fdb
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := make(map[fdbKey]bool, len(entries))
	for i := range entries {
		e := &entries[i]
		if e.Pinned {
			continue
		}
		k := e.key()
		kept[k] = true
		if !s.restoreEntry(e, k) {
			missing++
		}
	}
	for _, p := range t.ports {
		if p == nil {
			continue
		}
		for at := p.static.first; at != noSlot; {
			c := t.cold[at]
			if c.kind.isManual() && !kept[c.key] {
				t.remove(at)
			}
			at = c.next
		}
	}
	return missing
}

// key returns the table's key of an entry.
func (e *FDBEntry) key() fdbKey {
	if e.All {
		return e.MAC.addr().everywhere()
	}
	return makeKey(e.MAC.addr(), e.VLAN)
}

// restoreEntry adds an entry, unless the table has it. Needs the locks of s and of its FDB.
func (s *Switch) restoreEntry(e *FDBEntry, k fdbKey) (ok bool) {
	t := s.fdb
	p := t.ports[blackhole]
	if e.Kind != FDBBlackhole {
		a, err := s.port(e.Port)
		if err != nil {
			return false
		}
		p = a.fdb
	}
	at, kind, owner := t.get(k)
	if owner != p || kind != e.Kind.entry() {
		if t.pinnedIn(k) || t.setEntry(k, p, e.Kind.entry()) != nil {
			return false
		}
		at, kind, _ = t.get(k)
		t.cold[at].byHand = e.Kind != FDBDynamic
	}
	if kind == entryDynamic || kind == entrySticky {
		stamp := t.now() - uint32(e.Age.Seconds())
		if stamp == stampStatic {
			stamp--
		}
		b, i := at.split()
		t.buckets[b].stamp[i].Store(stamp)
	}
	return true
}

// Groups returns the static members of groups.
func (s *Switch) Groups() (list []StaticGroup) {
	entries, _ := s.MDB(AnyVLAN)
	for _, e := range entries {
		if e.Static {
			list = append(list, StaticGroup{Group: e.Group, Source: e.Source, Port: e.Port, VLAN: e.VLAN})
		}
	}
	return list
}

// RestoreGroups makes the static members those that Groups has returned in another process. It
// returns the number of those that are refused.
func (s *Switch) RestoreGroups(list []StaticGroup) (missing int) {
	have := s.Groups()
	for _, g := range have {
		if !slices.Contains(list, g) {
			_ = s.DelGroup(g) // it is there
		}
	}
	for _, g := range list {
		if !slices.Contains(have, g) && s.AddGroup(g) != nil {
			missing++
		}
	}
	return missing
}
