package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"vswitchd/internal/nearest"
)

// document reads the whole document. [switch] comes first, because ports get
// defaults from it, wherever in the file it stands.
func (p *parser) document(doc map[string]any) {
	top := &table{p, nil, p.layout.root, doc}
	top.single("switch", p.switchTable)
	for _, name := range top.names() {
		switch name {
		case "switch":
		case "log":
			top.single(name, p.logTable)
		case "control":
			top.single(name, p.controlTable)
		case "uplink":
			top.named(name, p.uplink)
		case "port":
			top.named(name, p.port)
		case "fdb":
			top.list(name, p.fdbEntry)
		case "mirror":
			top.named(name, func(t *table, _ bool) { unsupportedTable(t) })
		default:
			top.unknownTable(name)
		}
	}
}

// unknownTable reports a top-level key that there is none of.
func (t *table) unknownTable(name string) {
	msg := "unknown table"
	if _, ok := t.m[name].(map[string]any); !ok {
		msg = "unknown key"
	}
	msg += nearest.Hint(name, []string{"log", "control", "switch", "uplink", "port", "fdb", "mirror"})
	t.errorf(name, "%s", msg)
}

// single reads a table that there is one of.
func (t *table) single(name string, read func(*table)) {
	if _, ok := t.m[name]; !ok {
		return
	}
	if sub, ok := t.sub(name, "["+name+"]"); ok {
		read(sub)
	}
}

// named reads the tables of a kind that have names, in the order of the file.
// twice tells that the table has the name of one before it, which has been
// reported.
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
				t.errorf(name, "has an element that is %s, must be tables [[%s]]", kindOf(e), name)
				return
			}
			tables = append(tables, m)
		}
	default:
		t.errorf(name, "is %s, must be tables [[%s]]", kindOf(v), name)
	}
	for i, m := range tables {
		read(&table{t.p, append(slices.Clone(t.path), fmt.Sprintf("%s[%d]", name, i)), t.node.kid(name).elem(i), m})
	}
}

func (p *parser) logTable(t *table) {
	format := "text"
	t.read([]key{
		{"level", oneOf(&p.cfg.Log.Level, logLevels...)},
		{"format", oneOf(&format, logFormats...)},
	}, nil)
	p.cfg.Log.JSON = format == "json"
}

var (
	logLevels  = []string{"trace", "debug", "info", "warn", "error"}
	logFormats = []string{"text", "json"}
)

func (p *parser) controlTable(t *table) {
	c := &p.cfg.Control
	c.where = t.where()
	t.read([]key{
		{"socket", orEmpty(&c.Socket, socketPath(&c.Socket))},
		{"socket_owner", owner(&c.Access.UID)},
		{"socket_group", group(&c.Access.GID)},
		{"socket_mode", fileMode(&c.Access.Mode)},
		{"metrics", orEmpty(&c.Metrics, hostPort(&c.Metrics))},
	}, nil)
}

func (p *parser) switchTable(t *table) {
	s := &p.cfg.Switch
	s.where = t.where()
	if !t.read(slices.Concat([]key{
		{"mac_aging_time", duration(&s.MACAging, time.Second, 24*time.Hour)},
		{"mac_table_size", integer(&s.MACTable, 10, 1<<20)},
		{"workers", integer(&s.Workers, 1, 128)},
		{"cpus", integers(&s.CPUs, 0, 1023)},
		{"poll", poll(&s.Poll)},
		{"socket_dir", socketDir(&s.SocketDir)},
		{"socket_owner", owner(&s.PortSockets.UID)},
		{"socket_group", group(&s.PortSockets.GID)},
		{"socket_mode", fileMode(&s.PortSockets.Mode)},
	}, unsupported("switch")), nil) {
		return
	}
	if n := len(s.CPUs); n > 0 && n != s.Workers {
		t.errorf("cpus", "has %d CPUs for %d workers, must have as many, or be empty", n, s.Workers)
	}
	for i, cpu := range s.CPUs {
		if slices.Contains(s.CPUs[:i], cpu) {
			t.errorf("cpus", "has CPU %d twice", cpu)
		}
	}
}

// bridgingKeys returns the keys that ports and uplinks have in common.
func bridgingKeys(b *Bridging) []key {
	return []key{
		{"tag", vlan(&b.Tag)},
		{"trunks", vlans(&b.Trunks)},
		{"vlan_mode", vlanMode(&b.VLANMode)},
		{"learning", boolean(&b.Learning)},
		{"flood", boolean(&b.Flood)},
		{"mcast_flood", boolean(&b.McastFlood)},
		{"bcast_flood", boolean(&b.BcastFlood)},
		{"isolated", boolean(&b.Isolated)},
		{"hairpin", boolean(&b.Hairpin)},
		{"group_fwd_mask", integer(&b.GroupFwd, 0, 0xffff)},
		{"max_macs", integer(&b.MaxMACs, 0, 1<<20)},
	}
}

// resolveVLANs completes the VLAN mode and checks that what it needs is there.
// Open vSwitch warns of what contradicts the mode, and ignores it.
func (t *table) resolveVLANs(b *Bridging) {
	implied := b.VLANMode == ""
	if implied {
		b.VLANMode = VLANTrunk
		if b.Tag != 0 {
			b.VLANMode = VLANAccess
		}
	}
	switch {
	case b.VLANMode == VLANAccess && len(b.Trunks) > 0 && implied:
		t.errorf("trunks", `a port with a tag carries that VLAN alone, unless vlan_mode is "native-tagged" or "native-untagged"`)
	case b.VLANMode == VLANAccess && len(b.Trunks) > 0:
		t.errorf("trunks", "an access port carries the VLAN of its tag alone")
	case b.VLANMode == VLANTrunk && b.Tag != 0:
		t.errorf("tag", `a trunk has no VLAN of its own; use vlan_mode "native-tagged" or "native-untagged"`)
	}
}

func (p *parser) port(t *table, twice bool) {
	name := t.path[1]
	port := p.newPort(name)
	port.where = t.where()
	if t.read(slices.Concat([]key{
		{"socket", socketPath(&port.Socket)},
		{"socket_owner", owner(&port.Access.UID)},
		{"socket_group", group(&port.Access.GID)},
		{"socket_mode", fileMode(&port.Access.Mode)},
		{"mode", oneOf(&port.Mode, ModeServer, ModeClient)},
		{"queues", integer(&port.Queues, 1, 128)},
		{"mtu", mtu(&port.MTU)},
		{"mac", orEmpty(&port.MAC, mac(&port.MAC))},
		{"offloads", offloads(&port.Offloads)},
		{"max_memory", size(&port.MaxMemory, minMaxMemory, maxMaxMemory)},
		{"disk_memory", boolean(&port.DiskMemory)},
	}, bridgingKeys(&port.Bridging), unsupported("port")), map[string]string{
		"interface":   "belongs to [uplink.NAME], a port has a socket",
		"promiscuous": "belongs to [uplink.NAME]",
	}) {
		t.resolveVLANs(&port.Bridging)
	}
	if !twice {
		p.addPort(port)
	}
}

// Limits of Port.MaxMemory, and its default: more than guests have, and little enough that the
// address space of a process, 2^47 bytes on x86-64, has room for dozens of them.
const (
	minMaxMemory     = 1 << 20
	defaultMaxMemory = 1 << 40
	maxMaxMemory     = 64 << 40
)

// newPort returns a port with its defaults.
func (p *parser) newPort(name string) Port {
	return Port{
		Name:      name,
		Mode:      ModeServer,
		Socket:    filepath.Join(p.cfg.Switch.SocketDir, name+".sock"),
		Access:    p.cfg.Switch.PortSockets,
		Queues:    1,
		MaxMemory: defaultMaxMemory,
		Offloads:  allOffloads,
		Bridging:  defaultBridging(),
	}
}

func (p *parser) uplink(t *table, twice bool) {
	up := Uplink{Name: t.path[1], Promiscuous: true, Bridging: defaultBridging(), where: t.where()}
	const guestOnly = "belongs to [port.NAME], an uplink has an interface"
	if t.read(slices.Concat([]key{
		{"interface", interfaceName(&up.Interface)},
		{"promiscuous", boolean(&up.Promiscuous)},
	}, bridgingKeys(&up.Bridging), unsupported("uplink")), map[string]string{
		"socket": guestOnly, "socket_owner": guestOnly, "socket_group": guestOnly, "socket_mode": guestOnly,
		"mode": guestOnly, "queues": guestOnly, "mac": guestOnly, "mtu": guestOnly,
		"max_memory":  "belongs to [port.NAME], an uplink has no memory of a guest",
		"disk_memory": "belongs to [port.NAME], an uplink has no memory of a guest",
		"offloads":    "belongs to [port.NAME]; those of an uplink are its interface's, see ethtool(8)",
	}) {
		t.resolveVLANs(&up.Bridging)
	}
	if _, ok := t.m["interface"]; !ok {
		p.errs = append(p.errs, up.where.errorf("interface", "is missing"))
	}
	if !twice {
		p.addUplink(up)
	}
}

func (p *parser) fdbEntry(t *table) {
	e := FDBEntry{where: t.where()}
	t.read([]key{
		{"mac", mac(&e.MAC)},
		{"vlan", vlan(&e.VLAN)},
		{"port", text(&e.Port)},
	}, nil)
	for _, k := range []string{"mac", "port"} {
		if _, ok := t.m[k]; !ok {
			p.errs = append(p.errs, e.where.errorf(k, "is missing"))
		}
	}
	p.cfg.FDB = append(p.cfg.FDB, e)
}
