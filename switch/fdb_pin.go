package vswitch

import (
	"errors"
	"fmt"
	"slices"
)

// Pinned addresses: static entries that belong to a port's configuration, or are addresses of the
// host.

// A pin is one of the entries of a pinned address.
type pin struct {
	key  fdbKey
	kind entryKind // entryPinned or entryTwin
}

// pinsOf returns the entries of an address in the VLANs that rule carries: one for each VLAN, or,
// if rule carries all VLANs, one for every VLAN and one for the VLAN to which most frames belong.
func pinsOf(a addr, rule *vlanRule) (pins []pin) {
	if rule.trunk == nil {
		return []pin{{a.everywhere(), entryPinned}, {makeKey(a, rule.pvid), entryTwin}}
	}
	for _, v := range rule.named() {
		pins = append(pins, pin{makeKey(a, v), entryPinned})
	}
	return pins
}

// pin plans the pinned addresses of a port. It refuses an address that another port has in one of
// the VLANs; of the ports in changed, only the planned entries count. Needs both mutexes.
func (x *transaction) pin(plan *rewriting, v *portView, changed map[*fdbPort]bool) {
	for _, m := range v.pinned() {
		for _, n := range pinsOf(m.addr(), &v.vlan) {
			if k, taken := plan.taken(x.sw.fdb, n.key, v, changed); taken {
				err := fmt.Errorf("%w to another port: %s in %s", ErrAddressPinned, m, vlanName(k))
				x.refuse(v.cfg.Name, &settingError{"mac", err})
				return
			}
			plan.want[n.key] = fixture{v, n.kind}
			if !n.key.isEverywhere() {
				plan.single[m.addr()] = append(plan.single[m.addr()], n.key)
			}
		}
	}
	for _, m := range v.spare {
		k := m.addr().spare()
		_, _, owner := x.sw.fdb.get(k)
		if f, ok := plan.want[k]; ok && f.port != v || owner != nil && !changed[owner] {
			continue // if two ports have the same address, either may have the entry
		}
		plan.want[k] = fixture{v, entrySpare}
	}
}

func vlanName(k fdbKey) string {
	if k.isEverywhere() {
		return "every VLAN"
	}
	return fmt.Sprintf("VLAN %d", k.vlan())
}

// taken reports whether an entry that conflicts with an entry k of port v is pinned to another
// port, and returns the key of that entry.
func (plan *rewriting) taken(t *fdb, k fdbKey, v *portView, changed map[*fdbPort]bool) (fdbKey, bool) {
	other := func(k fdbKey) bool {
		if f, ok := plan.want[k]; ok && f.port != v && !f.kind.isManual() {
			return true
		}
		_, kind, owner := t.get(k)
		return owner != nil && kind == entryPinned && !changed[owner]
	}
	a := k.addr().station()
	if other(a.everywhere()) {
		return a.everywhere(), true
	}
	if !k.isEverywhere() {
		return k, other(k)
	}
	for _, one := range plan.single[a] {
		if other(one) {
			return one, true
		}
	}
	if _, kind, owner := t.get(a.everywhere()); owner != nil && v != nil && owner == v.fdb && kind == entryPinned {
		return 0, false // pinned to this port already, so to no other port in a single VLAN
	}
	return t.pinnedInOne(a, changed)
}

// pinnedInOne reports whether an address is pinned in a single VLAN to a port that is not in
// except, and returns the key of that entry. Needs mu.
func (t *fdb) pinnedInOne(a addr, except map[*fdbPort]bool) (fdbKey, bool) {
	for vlan := range uint16(maxVID + 1) {
		one := makeKey(a, vlan)
		if _, kind, owner := t.get(one); owner != nil && kind == entryPinned && !except[owner] {
			return one, true
		}
	}
	return 0, false
}

// pins reports whether the address of k will be pinned in its VLAN, to any port.
func (plan *rewriting) pins(t *fdb, k fdbKey, changed map[*fdbPort]bool) bool {
	_, taken := plan.taken(t, k, nil, changed)
	return taken
}

// findStale finds the entries to be removed, and checks that there is room for the new ones.
func (x *transaction) findStale(plan *rewriting, changed map[*fdbPort]bool) {
	t := x.sw.fdb
	gone := func(p *fdbPort) bool {
		return slices.ContainsFunc(x.detach, func(a *Attachment) bool { return a.fdb == p })
	}
	n := t.fixed - t.twins // static entries after the change; twins do not count
	for _, f := range plan.want {
		if f.kind != entryTwin {
			n++
		}
	}
	for _, p := range t.heap {
		for s := p.static.first; s != noSlot; s = t.cold[s].next {
			c := &t.cold[s]
			_, wanted := plan.want[c.key]
			held := plan.want[c.key.addr().everywhere()].kind == entryPinned
			stale := changed[p]
			if c.kind.isManual() {
				stale = gone(p) || held || !x.keepStatic && !c.byHand
			}
			if !wanted && stale {
				plan.stale = append(plan.stale, c.key)
			}
			if (wanted || stale) && c.kind != entryTwin {
				n--
			}
		}
	}
	if n > t.size {
		x.errs = append(x.errs, fmt.Errorf("%w: %d entries, but the table holds %d", ErrTableFull, n, t.size))
	}
}

// assign changes the port and the kind of the static or pinned entry in s. Readers see the old port
// or the new one. Needs fdb.mu.
func (t *fdb) assign(s slot, p *fdbPort, kind entryKind) {
	owner, c := t.owner(s), &t.cold[s]
	changed := owner != p || c.kind != kind
	if c.kind == entryTwin {
		t.twins--
		owner.twins--
	}
	if owner != p {
		t.unlink(&owner.static, s)
		t.push(&p.static, s)
		b, i := s.split()
		w := &t.buckets[b].word[i]
		w.Store(w.Load()&^(maxPorts-1) | uint64(p.id))
	}
	if (c.kind == entrySticky) != (kind == entrySticky) {
		b, i := s.split()
		t.buckets[b].stamp[i].Store(t.stampOf(kind))
	}
	c.kind, c.byHand = kind, false
	if kind == entryTwin {
		t.twins++
		p.twins++
	}
	if changed {
		t.note(RecordAdded, s)
		t.changed()
	}
}

// forgetLearned removes the learned entries of an address in all VLANs, which an entry for every
// VLAN replaces. Needs fdb.mu.
func (t *fdb) forgetLearned(a addr) {
	for v := range uint16(maxVID + 1) {
		if s, kind, owner := t.get(makeKey(a, v)); owner != nil && kind == entryDynamic {
			t.note(RecordRemoved, s)
			t.remove(s)
		}
	}
}

// pinnedIn reports whether the address of k is pinned in its VLAN or, if k is for every VLAN, in
// any. Needs fdb.mu.
func (t *fdb) pinnedIn(k fdbKey) bool {
	for _, e := range []fdbKey{k, k.addr().everywhere()} {
		if _, kind, owner := t.get(e); owner != nil && kind == entryPinned {
			return true
		}
	}
	if !k.isEverywhere() {
		return false
	}
	_, pinned := t.pinnedInOne(k.addr().station(), nil)
	return pinned
}

// SetLocal replaces the list of addresses that the host has on the port's interface. Addresses in
// own are pinned to the port like PortConfig.MACs. Frames to the addresses in others, which are
// those of other devices of the host, are sent to the port instead of being flooded; these
// addresses can still be learned behind other ports. Frames from the port to an address of either
// list have reached the host's network stack already: they are dropped and count as DropHost.
//
// An address in own that is pinned to another port in any VLAN is left out. The error names these
// addresses, and wraps ErrAddressPinned, ErrTableFull or ErrDetached; SetLocal may be called again
// with the same addresses. SetLocal does not wait for Deliver.
func (a *Attachment) SetLocal(own, others []MAC) error {
	a.sw.mu.Lock()
	was := *a.view
	a.sw.mu.Unlock()
	stations := func(macs []MAC) []MAC {
		return slices.DeleteFunc(slices.Clone(macs), func(m MAC) bool { return !m.IsUnicast() })
	}
	own, others = stations(own), stations(others)
	set := func(local, spare []MAC) error {
		x := &transaction{sw: a.sw, keepStatic: true}
		v := &portView{cfg: PortConfig{Name: was.cfg.Name}, local: local, spare: spare}
		x.ports = []*changedPort{{att: a, view: v, onlyLocal: true}}
		return x.commit()
	}
	local := slices.DeleteFunc(slices.Clone(was.local), func(m MAC) bool { return !slices.Contains(own, m) })
	errs := []error{set(local, others)}
	for _, m := range own {
		if slices.Contains(local, m) {
			continue
		}
		if err := set(append(slices.Clone(local), m), others); err != nil {
			errs = append(errs, err)
		} else {
			local = append(local, m)
		}
	}
	return errors.Join(errs...)
}
