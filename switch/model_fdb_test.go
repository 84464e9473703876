package vswitch_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// The model's FDB: a map of addresses in VLANs.

type modelKey struct {
	mac  vswitch.MAC
	vlan uint16
	all  bool // in every VLAN
}

func everywhere(mac vswitch.MAC) modelKey { return modelKey{mac: mac, all: true} }

type modelEntry struct {
	port   string // "" for a blackhole
	kind   vswitch.FDBKind
	pinned bool // of a port's configuration
	file   bool // of Change.Static
	seen   int  // second
	moves  []int
}

func (e modelEntry) moving() bool { return e.kind == vswitch.FDBDynamic }
func (e modelEntry) ages() bool   { return e.moving() || e.kind == vswitch.FDBSticky }

type modelFDB map[modelKey]modelEntry

// find returns the entry that says where an address is in a VLAN.
func (t modelFDB) find(mac vswitch.MAC, vlan uint16) (e modelEntry, ok bool) {
	if e, ok = t[modelKey{mac: mac, vlan: vlan}]; !ok {
		e, ok = t[everywhere(mac)]
	}
	return e, ok
}

// remove removes the entries for which cond holds, and returns their number.
func (t modelFDB) remove(cond func(modelKey, modelEntry) bool) (n int) {
	for k, e := range t {
		if cond(k, e) {
			delete(t, k)
			n++
		}
	}
	return n
}

// keys returns the entries of an address.
func (t modelFDB) keys(mac vswitch.MAC) (keys []modelKey) {
	for k := range t {
		if k.mac == mac {
			keys = append(keys, k)
		}
	}
	return keys
}

// pinnedIn reports whether an address is pinned in the VLAN of k: if that is every VLAN, in any.
func (t modelFDB) pinnedIn(k modelKey) bool {
	return slices.ContainsFunc(t.keys(k.mac), func(o modelKey) bool {
		return t[o].pinned && (o.all || k.all || o.vlan == k.vlan)
	})
}

func (t modelFDB) learned(port string) (n int) {
	for _, e := range t {
		if e.port == port && e.moving() {
			n++
		}
	}
	return n
}

func (m *model) atLimit(port string) bool {
	limit := m.ports[port].cfg.MaxMACs
	return limit != 0 && m.fdb.learned(port) >= limit
}

// learn learns from the source address of a frame.
func (m *model) learn(from string, f modelFrame) {
	if !m.ports[from].cfg.Learning {
		return
	}
	k := modelKey{mac: f.src, vlan: f.vlan}
	e, known := m.fdb[k]
	_, held := m.fdb[everywhere(f.src)]
	switch {
	case known && e.port == from && e.ages():
		e.seen = m.now
		m.fdb[k] = e
	case known && !e.moving(), !known && held, m.atLimit(from):
	case !known:
		m.fdb[k] = modelEntry{port: from, kind: vswitch.FDBDynamic, seen: m.now}
	default:
		m.move(k, e, from)
	}
}

// move moves a learned entry to another port, unless it has moved five times already a short while
// ago.
func (m *model) move(k modelKey, e modelEntry, to string) {
	if n := len(e.moves); m.holdDown != 0 && n >= 5 {
		if m.now-e.moves[n-1] < m.holdDown {
			m.did["held"]++
			return
		}
		e.moves = nil
	}
	e.port, e.seen, e.moves = to, m.now, append(slices.Clone(e.moves), m.now)
	m.fdb[k] = e
}

// age removes the entries that are too old.
func (m *model) age() {
	m.fdb.remove(func(_ modelKey, e modelEntry) bool { return e.ages() && m.now-e.seen > m.ageing })
}

// pin makes the entries of a port's own addresses.
func (m *model) pin(port string) {
	m.fdb.remove(func(_ modelKey, e modelEntry) bool { return e.port == port && e.pinned })
	p := m.ports[port]
	for _, mac := range p.cfg.MACs {
		e := modelEntry{port: port, kind: vswitch.FDBStatic, pinned: true}
		if p.everyVLAN() {
			m.fdb.remove(func(k modelKey, _ modelEntry) bool { return k.mac == mac })
			m.fdb[everywhere(mac)] = e
			continue
		}
		for vlan := range uint16(8) { // the model has no others
			if p.carries(vlan) {
				m.fdb[modelKey{mac: mac, vlan: vlan}] = e
			}
		}
	}
}

// everyVLAN reports whether p has no list of VLANs.
func (p *modelPort) everyVLAN() bool {
	return len(p.cfg.Trunks) == 0 && p.mode() != vswitch.VLANAccess && p.mode() != vswitch.VLANTunnel
}

// changeFDB adds, deletes or flushes entries by hand.
func (m *model) changeFDB(t *testing.T, r *rand.Rand, l *lab, port string) {
	mac, vlan := vswitchtest.Station(r.IntN(12)), uint16(r.IntN(4))
	if r.IntN(4) == 0 {
		mac = ownMAC(r.IntN(6))
	}
	switch r.IntN(4) {
	case 0:
		m.flush(t, r, l, port)
	case 1:
		k := modelKey{mac: mac, vlan: vlan}
		at := int(vlan)
		if r.IntN(3) == 0 {
			at = vswitch.AnyVLAN
		}
		keys := []modelKey{k}
		if at == vswitch.AnyVLAN {
			keys = m.fdb.keys(mac)
		}
		done := len(keys) == 1 && !m.fdb.pinnedIn(keys[0])
		if done {
			_, done = m.fdb[keys[0]]
			delete(m.fdb, keys[0])
		}
		m.expect(t, l.s.DelFDB(mac, at), done, "delete an FDB entry")
	default:
		m.addFDB(t, l, vswitch.StaticEntry{
			MAC: mac, VLAN: vlan, Port: port, Kind: []vswitch.FDBKind{
				vswitch.FDBStatic, vswitch.FDBStatic, vswitch.FDBDynamic, vswitch.FDBSticky, vswitch.FDBBlackhole,
			}[r.IntN(5)], All: r.IntN(8) == 0,
		})
	}
}

func (m *model) addFDB(t *testing.T, l *lab, e vswitch.StaticEntry) {
	if e.Kind == vswitch.FDBBlackhole {
		e.Port = ""
	}
	k := modelKey{mac: e.MAC, vlan: e.VLAN}
	if e.All {
		k = everywhere(e.MAC)
		if e.VLAN = 0; e.Kind != vswitch.FDBBlackhole {
			m.expect(t, l.s.AddFDB(e), false, "add an FDB entry")
			return
		}
	}
	was := m.fdb[k]
	full := e.Kind == vswitch.FDBDynamic && m.atLimit(e.Port) && !(was.moving() && was.port == e.Port)
	done := !m.fdb.pinnedIn(k) && !full
	m.expect(t, l.s.AddFDB(e), done, "add an FDB entry")
	if !done {
		return
	}
	if e.All {
		m.fdb.remove(func(o modelKey, e modelEntry) bool { return o.mac == k.mac && e.moving() })
	}
	m.fdb[k] = modelEntry{port: e.Port, kind: e.Kind, seen: m.now}
}

// reload makes random entries those of the configuration file. The change is refused as a whole if
// one of them is pinned.
func (m *model) reload(t *testing.T, r *rand.Rand, l *lab) {
	c := &vswitch.Change{}
	done := true
	entries := make(map[modelKey]modelEntry)
	for range r.IntN(6) {
		e := vswitch.StaticEntry{MAC: vswitchtest.Station(r.IntN(12)), VLAN: uint16(r.IntN(4)), Port: fmt.Sprint("p", r.IntN(6))}
		if r.IntN(8) == 0 {
			e.MAC = ownMAC(r.IntN(6))
		}
		e.Kind = []vswitch.FDBKind{vswitch.FDBStatic, vswitch.FDBSticky, vswitch.FDBBlackhole}[r.IntN(3)]
		k := modelKey{mac: e.MAC, vlan: e.VLAN}
		if e.Kind == vswitch.FDBBlackhole {
			if e.Port = ""; r.IntN(2) == 0 {
				e.All, e.VLAN, k = true, 0, everywhere(e.MAC)
			}
		}
		c.Static = append(c.Static, e)
		done = done && !m.fdb.pinnedIn(k)
		entries[k] = modelEntry{port: e.Port, kind: e.Kind, file: true, seen: m.now}
	}
	_, err := l.s.Apply(c)
	m.expect(t, err, done, "reload")
	if !done {
		return
	}
	m.fdb.remove(func(k modelKey, e modelEntry) bool {
		_, stays := entries[k]
		return e.file && !stays
	})
	m.sticky = make(map[string][]modelKey)
	for k, e := range entries {
		if was, ok := m.fdb[k]; k.all && (!ok || was.moving()) {
			m.fdb.remove(func(o modelKey, e modelEntry) bool { return o.mac == k.mac && e.moving() })
		} else if ok && was.kind == vswitch.FDBSticky && e.kind == vswitch.FDBSticky {
			e.seen = was.seen
		}
		m.fdb[k] = e
	}
	for _, e := range c.Static {
		if k := (modelKey{mac: e.MAC, vlan: e.VLAN}); e.Kind == vswitch.FDBSticky {
			m.sticky[e.Port] = append(m.sticky[e.Port], k)
		}
	}
	m.applied()
}

// comeUp makes the sticky entries of the file again whose port comes up.
func (m *model) comeUp(port string) {
	for _, k := range m.sticky[port] {
		if e, ok := m.fdb[k]; !ok || e.port != port && !m.fdb.pinnedIn(k) {
			m.fdb[k] = modelEntry{port: port, kind: vswitch.FDBSticky, file: true, seen: m.now}
		}
	}
}

func (m *model) flush(t *testing.T, r *rand.Rand, l *lab, port string) {
	f := vswitch.FDBFilter{VLAN: r.IntN(5) - 1}
	if r.IntN(2) == 0 {
		f.Port = port
	}
	for range r.IntN(3) {
		f.Kind = append(f.Kind, vswitch.FDBKind(r.IntN(4)))
	}
	got, err := l.s.Flush(f)
	kinds := f.Kind
	if len(kinds) == 0 {
		kinds = []vswitch.FDBKind{vswitch.FDBDynamic}
	}
	want := m.fdb.remove(func(k modelKey, e modelEntry) bool {
		in := f.VLAN == vswitch.AnyVLAN || !k.all && int(k.vlan) == f.VLAN
		return in && !e.pinned && slices.Contains(kinds, e.kind) && (f.Port == "" || e.port == f.Port)
	})
	if err != nil || got != want {
		t.Errorf("flush %+v: %d, %v; want %d", f, got, err, want)
	}
}

func (m *model) compareFDB(t *testing.T, l *lab) {
	entries := l.s.FDB("", vswitch.AnyVLAN)
	missing := maps.Clone(m.fdb)
	for _, e := range entries {
		k := modelKey{mac: e.MAC, vlan: e.VLAN}
		if e.All {
			k = everywhere(e.MAC)
		}
		want, known := m.fdb[k]
		delete(missing, k)
		age := time.Duration(m.now-want.seen) * time.Second
		if !want.ages() {
			age = 0
		}
		if !known || e.Port != want.port || e.Kind != want.kind || e.Age != age || e.Pinned != want.pinned {
			t.Errorf("FDB entry %+v, want %+v of age %v", e, want, age)
		}
	}
	for k, e := range missing {
		t.Errorf("the FDB has not %+v: %+v", k, e)
	}
}
