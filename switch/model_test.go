package vswitch_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// A model is a switch that is meant to be obviously right: it uses maps, handles one frame after
// another, and makes new bytes for each destination.
type model struct {
	ageing int // seconds
	now    int
	ports  map[string]*modelPort
	fdb    map[modelKey]modelEntry
}

type modelPort struct {
	cfg   vswitch.PortConfig
	up    bool
	sent  [][]byte
	drops map[string]uint64
}

type modelKey struct {
	mac  vswitch.MAC
	vlan uint16
}

type modelEntry struct {
	port string // "" for a blackhole
	kind vswitch.FDBKind
	seen int // second
}

func (e modelEntry) moves() bool { return e.kind == vswitch.FDBDynamic }
func (e modelEntry) ages() bool  { return e.moves() || e.kind == vswitch.FDBSticky }

// A modelFrame is a parsed frame: its addresses, its VLAN, and the tag with that VLAN.
type modelFrame struct {
	raw      []byte
	dst, src vswitch.MAC
	vlan     uint16
	tagged   bool // raw has that tag
	tpid     uint16
	pcp      uint16 // priority and DEI, in place
	customer uint16 // the customer's VLAN: that of the next tag
	more     bool   // there is a next tag
}

func (p *modelPort) mode() vswitch.VLANMode {
	switch {
	case p.cfg.VLANMode != vswitch.VLANDefault:
		return p.cfg.VLANMode
	case p.cfg.Tag != 0:
		return vswitch.VLANAccess
	default:
		return vswitch.VLANTrunk
	}
}

func (p *modelPort) carries(vlan uint16) bool {
	switch p.mode() {
	case vswitch.VLANAccess, vswitch.VLANTunnel:
		return vlan == p.cfg.Tag
	case vswitch.VLANTrunk:
		return len(p.cfg.Trunks) == 0 || slices.Contains(p.cfg.Trunks, vlan)
	default:
		return vlan == p.cfg.Tag || vlan != 0 && (len(p.cfg.Trunks) == 0 || slices.Contains(p.cfg.Trunks, vlan))
	}
}

// takes reports whether p carries frames with a customer's VLAN.
func (p *modelPort) takes(customer uint16) bool {
	switch p.mode() {
	case vswitch.VLANAccess:
		return customer == 0
	case vswitch.VLANTunnel:
		return len(p.cfg.CVLANs) == 0 || slices.Contains(p.cfg.CVLANs, customer)
	}
	return true
}

// tagAt returns the tag that b begins with, or false.
func tagAt(b []byte) (tpid, tci uint16, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	tpid = binary.BigEndian.Uint16(b)
	ok = tpid == 0x8100 || tpid == 0x88a8
	if ok && len(b) >= 6 {
		tci = binary.BigEndian.Uint16(b[2:])
	}
	return tpid, tci, ok
}

// parse parses a frame from p. It returns the reason for which the frame is dropped, or "".
func (p *modelPort) parse(raw []byte) (f modelFrame, reason string) {
	if len(raw) < 14 {
		return f, "too-short"
	}
	f.raw = raw
	copy(f.dst[:], raw)
	copy(f.src[:], raw[6:])
	reserved := bytes.Equal(f.dst[:5], []byte{1, 0x80, 0xc2, 0, 0}) && f.dst[5] < 16 || f.dst.String() == "01:00:0c:cc:cc:cd"
	if reserved && !(p.cfg.Guards.BPDU && f.isBPDU()) {
		return f, "reserved-address"
	}
	if f.src[0]&1 != 0 || f.src == (vswitch.MAC{}) {
		return f, "bad-source"
	}
	native := p.cfg.Tag
	if p.mode() == vswitch.VLANTrunk {
		native = 0
	}
	f.vlan, f.tpid, f.pcp = native, 0x8100, uint16(p.cfg.Priority)<<13
	tpid, tci, tagged := tagAt(raw[12:])
	switch {
	case tagged && len(raw) < 18:
		return f, "too-short"
	case p.mode() == vswitch.VLANTunnel:
		if p.cfg.QinQ != vswitch.QinQ8021Q {
			f.tpid = 0x88a8
		}
		f.more, f.customer = tagged, tci&0xfff
	case tagged:
		f.tagged, f.tpid, f.pcp = true, tpid, tci&0xf000
		if p.cfg.PriorityOverride {
			f.pcp = tci&0x1000 | uint16(p.cfg.Priority)<<13
		}
		_, next, more := tagAt(raw[16:])
		f.more, f.customer = more, next&0xfff
		if vid := tci & 0xfff; vid != 0 {
			f.vlan = vid
			if p.mode() == vswitch.VLANAccess {
				return f, "vlan"
			}
			if !p.carries(vid) {
				return f, "vlan"
			}
			return f, ""
		}
	}
	if !p.carries(f.vlan) || !p.takes(f.customer) {
		return f, "vlan"
	}
	return f, ""
}

// shaped returns the bytes of f as they leave by p.
func (p *modelPort) shaped(f modelFrame) []byte {
	rest := f.raw[12:]
	if f.tagged {
		rest = rest[4:]
	}
	with := func(tpid, tci uint16) []byte {
		tag := binary.BigEndian.AppendUint16(nil, tpid)
		tag = binary.BigEndian.AppendUint16(tag, tci)
		return slices.Concat(f.raw[:12], tag, rest)
	}
	without := slices.Concat(f.raw[:12], rest)
	urgent := f.pcp&0xe000 != 0
	adds := p.cfg.PriorityTags == vswitch.PriorityTagsNonzero || p.cfg.PriorityTags == vswitch.PriorityTagsAlways

	bare := f.vlan == p.cfg.Tag
	switch p.mode() {
	case vswitch.VLANTrunk, vswitch.VLANNativeTagged:
		bare = false
	case vswitch.VLANNativeUntagged:
		bare = bare && !f.more
	}
	switch {
	case bare && adds && urgent && !f.more:
		return with(0x8100, f.pcp)
	case bare:
		return without
	case f.vlan != 0:
		return with(f.tpid, f.pcp|f.vlan)
	case f.more:
		return with(f.tpid, f.pcp)
	}
	var keep bool // the priority tag
	switch p.cfg.PriorityTags {
	case vswitch.PriorityTagsNo:
	case vswitch.PriorityTagsNonzero:
		keep = urgent
	case vswitch.PriorityTagsAlways:
		keep = urgent || f.tagged
	default:
		keep = f.tagged
	}
	if keep {
		return with(f.tpid, f.pcp)
	}
	return without
}

func (m *model) deliver(from string, batch [][]byte) {
	src := m.ports[from]
	if !src.up {
		src.drops["source-down"] += uint64(len(batch))
		return
	}
	var fit []modelFrame
	for _, raw := range batch {
		f, reason := src.parse(raw)
		if reason == "" {
			reason = m.guarded(from, f)
		}
		if reason != "" {
			src.drops[reason]++
			continue
		}
		fit = append(fit, f)
	}
	for _, f := range fit {
		m.learn(from, f)
	}
	for _, f := range fit {
		m.forward(from, f)
	}
}

func (f *modelFrame) isBPDU() bool {
	switch f.dst.String() {
	case "01:80:c2:00:00:00", "01:80:c2:00:00:08", "01:00:0c:cc:cc:cd":
		return true
	}
	return false
}

// guarded returns the reason for which a guard of the port drops f, or "".
func (m *model) guarded(port string, f modelFrame) string {
	g := &m.ports[port].cfg.Guards
	e := m.fdb[modelKey{f.src, f.vlan}]
	switch {
	case g.BPDU && f.isBPDU():
		return "bpdu-guard"
	case len(g.AllowedMACs) > 0 && !slices.Contains(g.AllowedMACs, f.src):
		return "mac-spoofed"
	case g.Locked && !(e.kind == vswitch.FDBStatic && e.port == port):
		return "locked"
	}
	return ""
}

func (m *model) learn(from string, f modelFrame) {
	k := modelKey{f.src, f.vlan}
	e, known := m.fdb[k]
	p := m.ports[from]
	switch {
	case known && e.kind == vswitch.FDBSticky && p.cfg.Learning && e.port == from:
		e.seen = m.now
		m.fdb[k] = e
		return
	case !p.cfg.Learning || known && !e.moves():
		return
	case known && e.port == from:
	case p.cfg.MaxMACs != 0 && m.learned(from) >= p.cfg.MaxMACs:
		return
	}
	m.fdb[k] = modelEntry{port: from, kind: vswitch.FDBDynamic, seen: m.now}
}

func (m *model) learned(port string) (n int) {
	for _, e := range m.fdb {
		if e.port == port && e.moves() {
			n++
		}
	}
	return n
}

func (m *model) forward(from string, f modelFrame) {
	src := m.ports[from]
	group := f.dst[0]&1 != 0
	e, known := m.fdb[modelKey{f.dst, f.vlan}]
	if known && e.ages() && m.now-e.seen > m.ageing {
		known = false
	}
	if known && !group {
		to := m.ports[e.port]
		switch {
		case e.kind == vswitch.FDBBlackhole:
			src.drops["blackhole"]++
		case to == src && !src.cfg.Hairpin:
			src.drops["own-port"]++
		case apart(src, to):
			src.drops["policy"]++
		case !to.carries(f.vlan) || !to.takes(f.customer):
			src.drops["vlan"]++
		case !to.up:
			to.drops["port-down"]++
		default:
			to.sent = append(to.sent, to.shaped(f))
		}
		return
	}
	reached := false
	for _, to := range m.ports {
		wants := to.cfg.Flood
		if group {
			wants = to.cfg.McastFlood
		}
		if f.dst == broadcast {
			wants = to.cfg.BcastFlood
		}
		if !wants || !to.up || !to.carries(f.vlan) || !to.takes(f.customer) || to == src && !src.cfg.Hairpin || apart(src, to) {
			continue
		}
		reached = true
		to.sent = append(to.sent, to.shaped(f))
	}
	if !reached {
		src.drops["no-destination"]++
	}
}

// apart reports whether isolation or communities keep frames from port a from port b.
func apart(a, b *modelPort) bool {
	if a.cfg.Community != "" && b.cfg.Community != "" {
		return a.cfg.Community != b.cfg.Community
	}
	grouped := func(p *modelPort) bool { return p.cfg.Isolated || p.cfg.Community != "" }
	return grouped(a) && grouped(b)
}

// forget removes a port's learned entries for which cond holds.
func (m *model) forget(port string, cond func(modelKey) bool) {
	for k, e := range m.fdb {
		if e.port == port && e.moves() && cond(k) {
			delete(m.fdb, k)
		}
	}
}

// removeAgeing removes a port's entries that age.
func (m *model) removeAgeing(port string) {
	for k, e := range m.fdb {
		if e.port == port && e.ages() {
			delete(m.fdb, k)
		}
	}
}

// randomConfig returns a random port configuration, in which most settings usually have their
// defaults.
func randomConfig(r *rand.Rand, name string) vswitch.PortConfig {
	c := vswitch.DefaultPortConfig(name)
	often := func() bool { return r.IntN(8) != 0 }
	c.Learning, c.Flood, c.McastFlood, c.BcastFlood = often(), often(), often(), often()
	c.Isolated, c.Hairpin = !often(), !often()
	if !c.Isolated && r.IntN(4) == 0 {
		c.Community = []string{"x", "y"}[r.IntN(2)]
	}
	if r.IntN(5) == 0 {
		c.MaxMACs = 1 + r.IntN(4)
	}
	if r.IntN(4) == 0 {
		for range 1 + r.IntN(6) {
			c.Guards.AllowedMACs = append(c.Guards.AllowedMACs, vswitchtest.Station(r.IntN(12)))
		}
	}
	c.Guards.BPDU, c.Guards.Locked = !often(), r.IntN(20) == 0
	if r.IntN(2) == 0 {
		c.VLANMode = vswitch.VLANMode(r.IntN(int(vswitch.VLANTunnel) + 1))
		c.Tag = uint16(r.IntN(4))
		for range r.IntN(3) {
			c.Trunks = append(c.Trunks, uint16(r.IntN(4)))
		}
		if c.VLANMode == vswitch.VLANTunnel {
			c.Tag = max(c.Tag, 1)
			c.QinQ = []vswitch.QinQ{"", vswitch.QinQ8021AD, vswitch.QinQ8021Q}[r.IntN(3)]
			for range r.IntN(3) {
				c.CVLANs = append(c.CVLANs, uint16(r.IntN(4)))
			}
		}
	}
	if r.IntN(3) == 0 {
		c.Priority, c.PriorityOverride = r.IntN(8), c.VLANMode != vswitch.VLANTunnel && r.IntN(2) == 0
	}
	c.PriorityTags = []vswitch.PriorityTags{
		"", "", "", vswitch.PriorityTagsKeep, vswitch.PriorityTagsNo, vswitch.PriorityTagsNonzero, vswitch.PriorityTagsAlways,
	}[r.IntN(7)]
	return c
}

// randomFrame returns a random frame between few stations in few VLANs, which is sometimes
// malformed.
func randomFrame(r *rand.Rand, payload string) []byte {
	mac := func() vswitch.MAC {
		switch r.IntN(20) {
		case 0:
			return broadcast
		case 1:
			return multicast
		case 2:
			if r.IntN(4) == 0 {
				return vswitch.MAC{1, 0, 0x0c, 0xcc, 0xcc, 0xcd}
			}
			return vswitch.MAC{1, 0x80, 0xc2, 0, 0, byte(r.IntN(32))}
		case 3:
			return vswitch.MAC{}
		default:
			return vswitchtest.Station(r.IntN(12))
		}
	}
	var tags []vswitchtest.Tag
	for r.IntN(3) == 0 {
		tags = append(tags, vswitchtest.Tag{
			Type: []uint16{0x8100, 0x88a8}[r.IntN(2)], TCI: uint16(r.IntN(16)<<12 | r.IntN(4)),
		})
	}
	b := ether(mac(), mac(), payload, tags...)
	if r.IntN(50) == 0 {
		b = b[:r.IntN(len(b))]
	}
	return b
}

// TestAgainstModel sends random traffic through the switch and the model while ports come, go and
// change, and compares every byte that comes out, every drop, and the FDB.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { compareWithModel(t, seed) })
	}
}

func compareWithModel(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	const ageing = 5
	l := newLab(t, vswitch.Config{FDB: vswitch.FDBConfig{AgingTime: ageing * time.Second}})
	m := &model{ageing: ageing, ports: map[string]*modelPort{}, fdb: map[modelKey]modelEntry{}}
	add := func(name string) {
		c := randomConfig(r, name)
		l.add(name, func(to *vswitch.PortConfig) { *to = c })
		m.ports[name] = &modelPort{cfg: c, up: true, drops: map[string]uint64{}}
	}
	names := []string{"p0", "p1", "p2", "p3", "p4", "p5"}
	for _, n := range names {
		add(n)
	}
	for step := range 400 {
		name := names[r.IntN(len(names))]
		p, mp := l.ports[name], m.ports[name]
		switch r.IntN(30) {
		case 0:
			p.SetUp(!mp.up)
			if mp.up = !mp.up; !mp.up {
				m.removeAgeing(name)
			}
		case 1:
			c := randomConfig(r, name)
			if err := p.Reconfigure(c); err != nil {
				t.Fatal(err)
			}
			mp.cfg = c
			m.forget(name, func(k modelKey) bool { return !mp.carries(k.vlan) })
		case 2:
			p.Detach()
			p.in.Close()
			for k, e := range m.fdb {
				if e.port == name {
					delete(m.fdb, k)
				}
			}
			add(name)
		case 3:
			d := 1 + r.IntN(4)
			l.advance(time.Duration(d) * time.Second)
			m.now += d
			for k, e := range m.fdb {
				if e.ages() && m.now-e.seen > ageing {
					delete(m.fdb, k)
				}
			}
		case 4:
			mac, vlan := vswitchtest.Station(r.IntN(12)), uint16(r.IntN(4))
			if r.IntN(3) != 0 {
				l.s.DelFDB(mac, int(vlan))
				delete(m.fdb, modelKey{mac, vlan})
			} else {
				e := vswitch.StaticEntry{MAC: mac, VLAN: vlan, Port: name}
				switch r.IntN(4) {
				case 0:
					e.Kind, e.Port = vswitch.FDBBlackhole, ""
				case 1:
					e.Kind = vswitch.FDBSticky
				}
				if err := l.s.AddFDB(e); err != nil {
					t.Fatal(err)
				}
				m.fdb[modelKey{mac, vlan}] = modelEntry{port: e.Port, kind: e.Kind, seen: m.now}
			}
		default:
			var batch [][]byte
			for i := range 1 + r.IntN(vswitch.MaxBatch) {
				batch = append(batch, randomFrame(r, fmt.Sprintf("%d.%d", step, i)))
			}
			l.send(name, batch...)
			m.deliver(name, batch)
		}
		m.compare(t, l, step)
		if t.Failed() {
			return
		}
	}
}

func (m *model) compare(t *testing.T, l *lab, step int) {
	for name, mp := range m.ports {
		sent := l.ports[name].Take()
		if len(sent) != len(mp.sent) {
			t.Errorf("step %d: %s got %d frames, want %d", step, name, len(sent), len(mp.sent))
			return
		}
		for i, s := range sent {
			if !bytes.Equal(s.Bytes, mp.sent[i]) {
				t.Errorf("step %d: %s got\n%x, want\n%x", step, name, s.Bytes, mp.sent[i])
				return
			}
		}
		mp.sent = nil
		l.drops(name, mp.drops)
	}
	if step%10 == 0 {
		m.compareFDB(t, l, step)
	}
}

func (m *model) compareFDB(t *testing.T, l *lab, step int) {
	entries := l.s.FDB("", vswitch.AnyVLAN)
	if len(entries) != len(m.fdb) {
		t.Errorf("step %d: %d FDB entries, want %d", step, len(entries), len(m.fdb))
	}
	for _, e := range entries {
		want := m.fdb[modelKey{e.MAC, e.VLAN}]
		age := time.Duration(m.now-want.seen) * time.Second
		if !want.ages() {
			age = 0
		}
		if e.Port != want.port || e.Kind != want.kind || e.Age != age {
			t.Errorf("step %d: FDB entry %+v, want %+v of age %v", step, e, want, age)
		}
	}
}
