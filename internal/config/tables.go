package config

import (
	"fmt"
	"slices"

	"vswitchd/internal/config/key"
	"vswitchd/internal/nearest"
	vswitch "vswitchd/switch"
)

// This file walks a decoded document: it reads the tables, and checks the conditions between the
// keys of one table.

// document reads the whole document. It reads [switch] first, independently of the order in the
// file, because defaults of ports depend on it.
func (p *parser) document(doc map[string]any) {
	top := &table{p, nil, p.layout.Root, doc}
	top.single("switch")
	for _, name := range top.names() {
		switch kind := p.kinds.ofTable(name); {
		case name == "switch":
		case name == "log", name == "control", name == "sandbox":
			top.single(name)
		case kind != nil:
			top.named(name, func(t *table, twice bool) { p.port(kind, t, twice) })
		case name == "fdb":
			top.list(name, p.fdbEntry)
		case name == "mdb":
			top.list(name, p.mdbEntry)
		case name == "neigh":
			top.list(name, p.neighbor)
		case name == "mirror":
			top.named(name, p.mirror)
		case name == "filter":
			top.named(name, p.filter)
		case name == "set":
			top.named(name, p.set)
		default:
			top.unknownTable(name)
		}
	}
	p.checkCPUs()
}

// unknownTable reports an unknown top-level table or key.
func (t *table) unknownTable(name string) {
	msg := "unknown table"
	if _, ok := t.m[name].(map[string]any); !ok {
		msg = "unknown key"
	}
	known := []string{"fdb", "mdb", "neigh", "mirror", "filter", "set"}
	for _, b := range t.p.cfg.tables() {
		known = append(known, b.name)
	}
	for _, k := range t.p.kinds {
		known = append(known, k.Table)
	}
	t.errorf(name, "%s%s", msg, nearest.Hint(name, known))
}

// single reads a table that occurs once.
func (t *table) single(name string) {
	if _, ok := t.m[name]; !ok {
		return
	}
	sub, ok := t.sub(name, "["+name+"]")
	if !ok {
		return
	}
	tables := t.p.cfg.tables()
	b := tables[slices.IndexFunc(tables, func(b boundTable) bool { return b.name == name })]
	*b.where = sub.where()
	sub.read(b.keys, nil)
}

// named reads the tables [kind.NAME], in the order of the file. twice is true if an earlier table
// has the same name, which has already been reported.
func (t *table) named(kind string, read func(t *table, twice bool)) {
	all, ok := t.sub(kind, "["+kind+".NAME]")
	if !ok {
		return
	}
	for _, k := range all.allNames() {
		_, twice := all.original(k)
		if sub, ok := all.sub(k, "["+kind+".NAME]"); ok {
			read(sub, twice)
		}
	}
}

// list reads an array of tables.
func (t *table) list(name string, read func(*table)) {
	var tables []map[string]any
	switch v := t.m[name].(type) {
	case []map[string]any:
		tables = v
	case []any:
		for _, e := range v {
			m, ok := e.(map[string]any)
			if !ok {
				t.errorf(name, "has an element that is %s, must be tables [[%s]]", key.KindOf(e), name)
				return
			}
			tables = append(tables, m)
		}
	default:
		t.errorf(name, "is %s, must be tables [[%s]]", key.KindOf(v), name)
	}
	for i, m := range tables {
		read(&table{t.p, append(slices.Clone(t.path), fmt.Sprintf("%s[%d]", name, i)), t.node.Kid(name).Elem(i), m})
	}
}

// checkCPUs checks that the number of CPUs equals that of workers, and that no CPU is listed twice.
// It does nothing if one of the two keys is wrong, which has been reported: the field then has its
// default.
func (p *parser) checkCPUs() {
	s := &p.cfg.Switch
	if slices.ContainsFunc(p.errs, func(e Error) bool { return e.Key == "switch.cpus" || e.Key == "switch.workers" }) {
		return
	}
	report := func(format string, args ...any) {
		p.errs = append(p.errs, s.where.errorf("cpus", format, args...))
	}
	if n := len(s.CPUs); n > 0 && n != s.Workers {
		report("has %d CPUs for %d workers, must have as many, or be empty", n, s.Workers)
	}
	for i, cpu := range s.CPUs {
		if slices.Contains(s.CPUs[:i], cpu) {
			report("has CPU %d twice", cpu)
		}
	}
}

// port reads the table of a port.
func (p *parser) port(kind *Kind, t *table, twice bool) {
	port := newPort(kind, t.path[1], &p.cfg.Switch)
	port.where = t.where()
	if t.read(port.Keys(), func(name string) string { return p.kinds.belongs(name, kind) }) {
		p.resolveVLANs(port)
	}
	if !twice {
		p.addPort(port)
	}
}

// resolveVLANs determines the VLAN mode if it is not configured, and refuses keys that contradict
// the mode. Open vSwitch ignores such keys with a warning.
func (p *parser) resolveVLANs(port *Port) {
	report := func(key, text string) { p.errs = append(p.errs, port.Errorf(key, "%s", text)) }
	implied := port.VLANMode == vswitch.VLANDefault
	if implied {
		port.VLANMode = vswitch.VLANTrunk
		if port.Tag != 0 {
			port.VLANMode = vswitch.VLANAccess
		}
	}
	switch {
	case port.VLANMode == vswitch.VLANAccess && len(port.Trunks) > 0 && implied:
		report("trunks", `a port with a tag carries that VLAN alone, unless vlan_mode is "native-tagged" or "native-untagged"`)
	case port.VLANMode == vswitch.VLANAccess && len(port.Trunks) > 0:
		report("trunks", "an access port carries the VLAN of its tag alone")
	case port.VLANMode == vswitch.VLANTrunk && port.Tag != 0:
		report("tag", `a trunk has no VLAN for untagged frames; use vlan_mode "native-tagged" or "native-untagged"`)
	case (port.VLANMode == vswitch.VLANNativeTagged || port.VLANMode == vswitch.VLANNativeUntagged) &&
		port.Tag != 0 && slices.Contains(port.Trunks, 0):
		report("trunks", "has VLAN 0, frames without a tag, which are in the VLAN of the tag here")
	}
	if port.VLANMode == vswitch.VLANTunnel {
		p.checkTunnel(port)
		return
	}
	if len(port.CVLANs) > 0 {
		report("cvlans", `belongs to ports with vlan_mode "dot1q-tunnel"`)
	}
	if port.QinQ != vswitch.QinQ8021AD {
		report("qinq_ethtype", `belongs to ports with vlan_mode "dot1q-tunnel"`)
	}
}

// checkTunnel refuses keys that contradict vlan_mode "dot1q-tunnel".
func (p *parser) checkTunnel(port *Port) {
	report := func(key, text string) { p.errs = append(p.errs, port.Errorf(key, "%s", text)) }
	switch {
	case port.Tag == 0 && port.where.has("tag"):
		report("tag", `is 0, must be the VLAN of the tunnel, as vlan_mode is "dot1q-tunnel"`)
	case port.Tag == 0:
		report("vlan_mode", `needs a tag, the VLAN of the tunnel`)
	}
	if len(port.Trunks) > 0 {
		report("trunks", "a tunnel carries the VLAN of its tag alone; use cvlans for the customer's VLANs")
	}
	if port.PriorityOverride {
		report("priority_override", "a tunnel's outer tag always has the port's priority, and the customer's tags keep theirs")
	}
}

func (p *parser) fdbEntry(t *table) {
	var e FDBEntry
	e.where = t.where()
	t.read(e.keys(), nil)
	p.cfg.FDB = append(p.cfg.FDB, e)
}
