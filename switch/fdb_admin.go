package vswitch

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Listing the FDB, and changing it by hand.

// An FDBEntry is an address and the port behind which its station is.
type FDBEntry struct {
	MAC    MAC
	VLAN   uint16 // 0: frames without a tag, between ports without VLAN settings
	All    bool   // in every VLAN; VLAN is that of the port's untagged frames
	Port   string
	Static bool          // neither ages nor moves
	Pinned bool          // static, from its port's PortConfig.MACs
	Age    time.Duration // since the last frame from it, in whole seconds; 0 if Static
}

// FDB returns the entries of a port ("": of all ports) in a VLAN (AnyVLAN: in all VLANs), sorted by
// VLAN and address. The table may change meanwhile: each entry is consistent, the list is not a
// snapshot of one moment.
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
			id := portID(t.buckets[b].word[i].Load() & (maxPorts - 1))
			at := slot(b*bucketSlots + i)
			if id == 0 || !t.live(at, now) {
				continue
			}
			c, v := &t.cold[at], set.get(id)
			all := c.key.isEverywhere()
			if v == nil || c.kind == entryTwin || port != "" && v.cfg.Name != port ||
				vlan != AnyVLAN && !all && int(c.key.vlan()) != vlan {
				continue
			}
			e := FDBEntry{
				MAC: c.key.addr().mac(), VLAN: c.key.vlan(), Port: v.cfg.Name,
				Static: c.kind != entryDynamic, Pinned: c.kind == entryPinned,
			}
			if all {
				e.MAC, e.VLAN, e.All = c.key.addr().station().mac(), v.vlan.pvid, true
			}
			if !e.Static {
				// A reader may have refreshed it since the clock was read.
				age := int32(now - t.buckets[b].stamp[i].Load())
				e.Age = time.Duration(max(age, 0)) * time.Second
			}
			to = append(to, e)
		}
	}
	return to
}

// AddStatic adds an entry that neither ages nor moves. It replaces an entry of that address, unless
// that entry is pinned to a port. The entry is removed when the port is detached.
func (s *Switch) AddStatic(mac [6]byte, vlan uint16, port string) error {
	m := MAC(mac)
	if !m.IsUnicast() {
		return fmt.Errorf("%w: %s", ErrBadMAC, m)
	}
	if vlan > maxVID {
		return fmt.Errorf("%w: %d", ErrBadVLAN, vlan)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.port(port)
	if err != nil {
		return err
	}
	t, k := s.fdb, makeKey(m.addr(), vlan)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pinnedIn(k) {
		return fmt.Errorf("%w: %s in VLAN %d", ErrAddressPinned, m, vlan)
	}
	if err := t.setStatic(k, a.fdb, entryStatic); err != nil {
		return fmt.Errorf("adding %s in VLAN %d to port %s: %w", m, vlan, port, err)
	}
	return nil
}

// DelFDB removes an entry, static or not. Pinned entries can only be removed by configuring their
// port.
func (s *Switch) DelFDB(mac [6]byte, vlan uint16) error {
	m, t := MAC(mac), s.fdb
	t.mu.Lock()
	defer t.mu.Unlock()
	k := makeKey(m.addr(), vlan)
	at, _, p := t.get(k)
	switch {
	case vlan > maxVID:
		return fmt.Errorf("%w: %s in VLAN %d", ErrNoEntry, m, vlan)
	case t.pinnedIn(k):
		return fmt.Errorf("%w: %s in VLAN %d", ErrAddressPinned, m, vlan)
	case p == nil:
		return fmt.Errorf("%w: %s in VLAN %d", ErrNoEntry, m, vlan)
	}
	t.remove(at)
	return nil
}

// Flush removes the learned entries of a port ("": of all ports) in a VLAN (AnyVLAN: in all VLANs),
// and returns how many entries it has removed.
func (s *Switch) Flush(port string, vlan int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if port != "" {
		a, err := s.port(port)
		if err != nil {
			return 0, err
		}
		return s.fdb.flush(a.fdb, vlan), nil
	}
	n := 0
	for _, a := range s.names {
		n += s.fdb.flush(a.fdb, vlan)
	}
	return n, nil
}

func (t *fdb) flush(p *fdbPort, vlan int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flushList(&p.dynamic, vlan)
}
