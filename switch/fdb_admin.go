package vswitch

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Listing the FDB, and changing it by hand.

// An FDBKind is the kind of an FDB entry.
type FDBKind uint8

// Kinds of FDB entries. With the Linux bridge, FDBStatic is "static sticky", and FDBSticky is
// "dynamic sticky".
const (
	FDBStatic    FDBKind = iota // neither ages nor moves
	FDBDynamic                  // learned, or added by hand: ages, and moves to another port
	FDBSticky                   // ages, but does not move
	FDBBlackhole                // frames to the address are dropped; it neither ages nor moves
	numFDBKinds
)

var fdbKindNames = [numFDBKinds]string{
	FDBStatic: "static", FDBDynamic: "dynamic", FDBSticky: "sticky", FDBBlackhole: "blackhole",
}

// String returns the name of the kind in the control API.
func (k FDBKind) String() string {
	if k < numFDBKinds {
		return fdbKindNames[k]
	}
	return "unknown"
}

// FDBKinds returns the names of all kinds.
func FDBKinds() []string { return slices.Clone(fdbKindNames[:]) }

// ParseFDBKind is the inverse of String.
func ParseFDBKind(s string) (FDBKind, error) {
	if i := slices.Index(fdbKindNames[:], s); i >= 0 {
		return FDBKind(i), nil
	}
	return 0, fmt.Errorf("%w: type %q", ErrBadEntry, s)
}

// entry returns the kind that entries of an operator have in the table.
func (k FDBKind) entry() entryKind {
	switch k {
	case FDBDynamic:
		return entryDynamic
	case FDBSticky:
		return entrySticky
	}
	return entryStatic
}

// An FDBEntry is an address and the port behind which its station is.
type FDBEntry struct {
	MAC    MAC
	VLAN   uint16 // 0: frames without a tag, between ports without VLAN settings
	All    bool   // in every VLAN; VLAN is that of the port's untagged frames
	Port   string // "" for FDBBlackhole
	Kind   FDBKind
	Pinned bool          // static, from its port's PortConfig.MACs
	Age    time.Duration // since the last frame from it, in whole seconds; 0 if it does not age
}

// FDB returns the entries of a port ("": of all ports, and blackholes) in a VLAN (AnyVLAN: in all
// VLANs), sorted by VLAN and address. The table may change meanwhile: each entry is consistent, the
// list is not a snapshot of one moment.
func (s *Switch) FDB(port string, vlan int) []FDBEntry {
	var entries []FDBEntry
	set, t := s.set.Load(), s.fdb
	for first := 0; first < len(t.buckets); first += sweepChunk {
		entries = t.dump(entries, first, set, port, vlan)
	}
	slices.SortFunc(entries, func(a, b FDBEntry) int {
		return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), slices.Compare(a.MAC[:], b.MAC[:]))
	})
	return entries
}

// dump appends the matching entries of sweepChunk buckets. The lock is held for these only, so that
// learning can go on in between.
func (t *fdb) dump(to []FDBEntry, first int, set *portSet, port string, vlan int) []FDBEntry {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for b := first; b < first+sweepChunk; b++ {
		for i := range bucketSlots {
			at := slotAt(b, i)
			if t.buckets[b].word[i].Load() == 0 || !t.live(b, i, now) || t.cold[at].kind == entryTwin {
				continue
			}
			e, ok := t.entry(at, set, now)
			if ok && (port == "" || e.Port == port) && (vlan == AnyVLAN || e.All || int(e.VLAN) == vlan) {
				to = append(to, e)
			}
		}
	}
	return to
}

// entry describes the entry in s. ok is false if its port is not in the set. Needs mu.
func (t *fdb) entry(s slot, set *portSet, now uint32) (e FDBEntry, ok bool) {
	c, id := &t.cold[s], t.owner(s).id
	e = FDBEntry{MAC: c.key.addr().station().mac(), VLAN: c.key.vlan(), Pinned: c.kind == entryPinned}
	if c.key.isEverywhere() {
		e.VLAN, e.All = 0, true
	}
	if id == blackhole {
		e.Kind = FDBBlackhole
		return e, true
	}
	v := set.get(id)
	if v == nil {
		return e, false
	}
	e.Port = v.cfg.Name
	if e.All {
		e.VLAN = v.vlan.pvid
	}
	if e.Kind = c.kind.public(); e.Kind == FDBStatic {
		return e, true
	}
	b, i := s.split()
	// A reader may have refreshed the entry since the clock was read.
	age := int32(now - t.buckets[b].stamp[i].Load())
	e.Age = time.Duration(max(age, 0)) * time.Second
	return e, true
}

// AddFDB adds an entry, which may also be of kind FDBDynamic. It replaces an entry of that address,
// unless that entry is pinned to a port. The entry is removed when the port is detached; what else
// removes it depends on its kind. A later Change keeps it, unless the Change has an entry for the
// same address and VLAN, or pins the address.
func (s *Switch) AddFDB(e StaticEntry) error {
	if err := e.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.fdb
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.ports[blackhole]
	if e.Kind != FDBBlackhole {
		a, err := s.port(e.Port)
		if err != nil {
			return err
		}
		p = a.fdb
	}
	k := e.key()
	if t.pinnedIn(k) {
		return fmt.Errorf("%w: %s", ErrAddressPinned, e.where())
	}
	if _, kind, owner := t.get(k); e.Kind == FDBDynamic && p.atLimit() && !(owner == p && kind == entryDynamic) {
		return fmt.Errorf("%w: port %s has %d learned addresses already", ErrBadEntry, e.Port, p.max.Load())
	}
	if e.All {
		t.forgetLearned(e.MAC.addr())
	}
	if err := t.setEntry(k, p, e.Kind.entry()); err != nil {
		if e.Kind == FDBBlackhole {
			return fmt.Errorf("adding %s: %w", e.where(), err)
		}
		return fmt.Errorf("adding %s to port %s: %w", e.where(), e.Port, err)
	}
	t.mark(k, true)
	return nil
}

// mark sets whether the entry of k was added by hand. Needs mu.
func (t *fdb) mark(k fdbKey, byHand bool) {
	if s, _, p := t.get(k); p != nil {
		t.cold[s].byHand = byHand
	}
}

// DelFDB removes an entry, static or not. With AnyVLAN, it removes the address's only entry, in
// whatever VLAN; if there are several, it returns ErrBadVLAN. Pinned entries can only be removed by
// configuring their port.
func (s *Switch) DelFDB(mac [6]byte, vlan int) error {
	m, t := MAC(mac), s.fdb
	t.mu.Lock()
	defer t.mu.Unlock()
	if vlan > maxVID || vlan < 0 && vlan != AnyVLAN {
		return fmt.Errorf("%w: %s in VLAN %d", ErrNoEntry, m, vlan)
	}
	var keys []fdbKey
	if vlan != AnyVLAN {
		keys = []fdbKey{makeKey(m.addr(), uint16(vlan))}
	} else if keys = t.keysOf(m.addr()); len(keys) > 1 {
		return fmt.Errorf("%w: %s is in %s and in %s: name the VLAN", ErrBadVLAN, m, vlanName(keys[0]), vlanName(keys[1]))
	}
	in := ""
	if vlan != AnyVLAN {
		in = fmt.Sprintf(" in VLAN %d", vlan)
	}
	if len(keys) > 0 && t.pinnedIn(keys[0]) {
		return fmt.Errorf("%w: %s%s", ErrAddressPinned, m, in)
	}
	if len(keys) > 0 {
		if at, _, p := t.get(keys[0]); p != nil {
			t.note(RecordRemoved, at)
			t.remove(at)
			return nil
		}
	}
	return fmt.Errorf("%w: %s%s", ErrNoEntry, m, in)
}

// keysOf returns the keys of all entries of an address but twins and spare ones. Needs mu.
func (t *fdb) keysOf(a addr) (keys []fdbKey) {
	if _, _, p := t.get(a.everywhere()); p != nil {
		keys = append(keys, a.everywhere())
	}
	for v := range uint16(maxVID + 1) {
		if _, kind, p := t.get(makeKey(a, v)); p != nil && kind != entryTwin {
			keys = append(keys, makeKey(a, v))
		}
	}
	return keys
}

// An FDBFilter selects entries of the FDB that are not pinned.
type FDBFilter struct {
	Port string    // "": of all ports, and blackholes
	VLAN int       // AnyVLAN: in all VLANs
	Kind []FDBKind // none: dynamic entries
}

// Flush removes the entries that the filter selects, and returns how many it has removed.
func (s *Switch) Flush(f FDBFilter) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kinds := f.Kind
	if len(kinds) == 0 {
		kinds = []FDBKind{FDBDynamic}
	}
	t := s.fdb
	var ports []*fdbPort
	if f.Port != "" {
		a, err := s.port(f.Port)
		if err != nil {
			return 0, err
		}
		ports = []*fdbPort{a.fdb}
	} else {
		for _, a := range s.names {
			ports = append(ports, a.fdb)
		}
	}
	var of []entryKind
	n := 0
	for _, k := range kinds {
		if k != FDBBlackhole {
			of = append(of, k.entry())
		} else if f.Port == "" {
			n += t.flushLocked(t.ports[blackhole], FlushByHand, f.VLAN, entryStatic)
		}
	}
	for _, p := range ports {
		n += t.flushLocked(p, FlushByHand, f.VLAN, of...)
	}
	return n, nil
}

func (t *fdb) flushLocked(p *fdbPort, why FlushCause, vlan int, kinds ...entryKind) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flush(p, why, vlan, kinds...)
}

// flush removes the entries of p that are in VLAN vlan, or in any if vlan is negative, and of one
// of the kinds, and returns how many entries it has removed. Needs mu.
func (t *fdb) flush(p *fdbPort, why FlushCause, vlan int, kinds ...entryKind) (n int) {
	for _, l := range []*fdbList{&p.dynamic, &p.static} {
		for s := l.first; s != noSlot; {
			c := t.cold[s]
			in := vlan < 0 || !c.key.isEverywhere() && int(c.key.vlan()) == vlan
			if in && slices.Contains(kinds, c.kind) {
				t.remove(s)
				n++
			}
			s = c.next
		}
	}
	t.noteFlush(p, n, why)
	return n
}
