package vswitch

import (
	"errors"
	"fmt"
	"slices"
)

// Pinned addresses: static entries that belong to a port's configuration, or are the host's.

// A pin is one entry that a pinned address has.
type pin struct {
	key  fdbKey
	kind entryKind // entryPinned or entryTwin
}

// pinsOf returns the entries of an address in the VLANs of rule: one for each that is named, or one
// for all of them and one for the VLAN in which most frames are.
func pinsOf(a addr, rule *vlanRule) (pins []pin) {
	if rule.trunk == nil {
		return []pin{{a.everywhere(), entryPinned}, {makeKey(a, rule.pvid), entryTwin}}
	}
	for _, v := range rule.named() {
		pins = append(pins, pin{makeKey(a, v), entryPinned})
	}
	return pins
}

// pin plans the pinned addresses of a port. An address that another port has in one of the VLANs is
// refused; ports that are changed have only what is planned. Needs both mutexes.
func (x *transaction) pin(plan *rewriting, v *portView, changed map[*fdbPort]bool) {
	for _, m := range v.pinned() {
		for _, n := range pinsOf(m.addr(), &v.vlan) {
			if k, taken := plan.taken(x.sw.fdb, n.key, v, changed); taken {
				x.refuse(v.cfg.Name, fmt.Errorf("%w to another port: %s in %s", ErrAddressPinned, m, vlanName(k)))
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
			continue // two ports with the same can both do without
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

// taken reports whether an entry that contradicts one with key k for port v is pinned to another
// port, and which one that is.
func (plan *rewriting) taken(t *fdb, k fdbKey, v *portView, changed map[*fdbPort]bool) (fdbKey, bool) {
	other := func(k fdbKey) bool {
		if f, ok := plan.want[k]; ok && f.port != v && f.kind != entryStatic {
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
	if _, kind, owner := t.get(a.everywhere()); owner != nil && owner == v.fdb && kind == entryPinned {
		return 0, false // the port has it already, so nobody has it in a single VLAN
	}
	for vlan := range uint16(maxVID + 1) {
		one := makeKey(a, vlan)
		if _, kind, owner := t.get(one); owner != nil && kind == entryPinned && !changed[owner] {
			return one, true
		}
	}
	return 0, false
}

// pins reports whether the address of k will be pinned, to whichever port, in its VLAN.
func (plan *rewriting) pins(t *fdb, k fdbKey, changed map[*fdbPort]bool) bool {
	_, taken := plan.taken(t, k, nil, changed)
	return taken
}

// findStale finds the entries that are to go, and checks that those that come find room.
func (x *transaction) findStale(plan *rewriting, changed map[*fdbPort]bool) {
	t := x.sw.fdb
	gone := func(p *fdbPort) bool {
		return slices.ContainsFunc(x.detach, func(a *Attachment) bool { return a.fdb == p })
	}
	n := t.fixed - t.twins // entries that there will be; twins do not count
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
			stale := c.kind != entryStatic && changed[p] || c.kind == entryStatic && (!x.keepStatic || gone(p) || held)
			if !wanted && stale {
				plan.stale = append(plan.stale, c.key)
			}
			if (wanted || stale) && c.kind != entryTwin {
				n--
			}
		}
	}
	if n > t.size {
		x.errs = append(x.errs, fmt.Errorf("%w: %d of them, and it has room for %d", ErrTableFull, n, t.size))
	}
}

// assign gives the static or pinned entry in s to port p, as one of that kind. Readers see the
// old port or the new one. Needs fdb.mu.
func (t *fdb) assign(s slot, p *fdbPort, kind entryKind) {
	owner, c := t.owner(s), &t.cold[s]
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
	c.kind = kind
	if kind == entryTwin {
		t.twins++
		p.twins++
	}
}

// forgetLearned removes what was learned about an address in any VLAN: the entry for all of them
// decides. Needs fdb.mu.
func (t *fdb) forgetLearned(a addr) {
	for v := range uint16(maxVID + 1) {
		if s, kind, owner := t.get(makeKey(a, v)); owner != nil && kind == entryDynamic {
			t.remove(s)
		}
	}
}

// pinnedIn reports whether the address of k is pinned in its VLAN. Needs fdb.mu.
func (t *fdb) pinnedIn(k fdbKey) bool {
	_, kind, owner := t.get(k)
	return owner != nil && kind == entryPinned || t.holder(k.addr()) != 0
}

// SetLocal says which addresses the host itself has on the port's interface, until the next
// SetLocal. Those in own are pinned to the port like PortConfig.MACs. Those in others are where
// frames to them go that would be flooded otherwise; whoever sends from such an address is learned
// as ever. Frames to either that come in by the port have reached the host's own stack already:
// they go nowhere else and count as DropHost.
//
// An address of own that is pinned to another port is left out, in every VLAN. The error, which
// wraps ErrAddressPinned, ErrTableFull or ErrDetached, says which these are; SetLocal may be called
// again with the same addresses. It does not wait for Deliver.
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
