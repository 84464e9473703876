package vswitch_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	vswitch "vswitchd/switch"
)

// A model is a switch that is meant to be obviously right: it uses maps, handles one frame after
// another, and makes new bytes for each destination. Each part of it is in a file model_*_test.go.
type model struct {
	t        *testing.T
	now      int // seconds, like all times
	ageing   int
	holdDown int
	ports    map[string]*modelPort
	fdb      modelFDB
	sticky   map[string][]modelKey // entries of the file, by port

	filters map[string]*modelFilter

	neighbors []vswitch.Neighbor
	learned   map[neighborKey]modelNeighbor

	snooping     bool
	unregistered vswitch.McastUnregistered
	nets         map[netKey]*modelNet
	members      map[groupKey]*membership
	static       []vswitch.StaticGroup

	mirrors []*modelMirror
	copied  map[string]bool // copies of this batch, and frames that filters of mirrors have not accepted

	refused map[string]int // changes that were refused, by what they were to change
	did     map[string]int // what has happened that no drop shows
	frames  int
}

type modelPort struct {
	cfg   vswitch.PortConfig
	up    bool
	rates modelRates
	sent  [][]byte
	drops map[string]uint64
}

func newModel(t *testing.T, ageing int) *model {
	return &model{
		t: t, now: 1, ageing: ageing, ports: make(map[string]*modelPort), fdb: make(modelFDB), learned: make(map[neighborKey]modelNeighbor),
		nets: make(map[netKey]*modelNet), members: make(map[groupKey]*membership), refused: make(map[string]int), did: make(map[string]int),
	}
}

// deliver takes a batch through the stages.
func (m *model) deliver(from string, batch []*modelMessage) {
	src := m.ports[from]
	m.frames += len(batch)
	if !src.up || m.isOutput(from) {
		reason := "mirror-output"
		if !src.up {
			reason = "source-down"
		}
		src.drops[reason] += uint64(len(batch))
		return
	}
	var frames, allowed []modelFrame
	for _, in := range batch {
		if f, reason := src.parse(in); reason != "" {
			src.drops[reason]++
		} else {
			frames = append(frames, f)
		}
	}
	for _, f := range m.filter(src, src.cfg.IngressFilter, frames) {
		if reason := m.guarded(from, f); reason != "" {
			src.drops[reason]++
		} else {
			allowed = append(allowed, f)
		}
	}
	allowed = m.police(src, allowed)
	m.beginMirrors()
	m.mirrorFrom(from, allowed)
	for _, f := range allowed {
		m.learn(from, f)
	}
	m.forward(from, allowed)
}

// guarded returns the reason for which a guard of the port drops f, or "".
func (m *model) guarded(port string, f modelFrame) string {
	g := &m.ports[port].cfg.Guards
	e, _ := m.fdb.find(f.src, f.vlan)
	switch {
	case g.BPDU && f.isBPDU():
		return "bpdu-guard"
	case len(g.AllowedMACs) > 0 && !slices.Contains(g.AllowedMACs, f.src):
		return "mac-spoofed"
	case g.Locked && !(e.kind == vswitch.FDBStatic && e.port == port):
		return "locked"
	}
	return vswitch.JudgeGuards(*g, f.raw)
}

// A modelFate is where a frame goes.
type modelFate struct {
	modelFrame
	to      string // the port of its destination; "": it is flooded
	wanted  func(*vswitch.PortConfig) bool
	only    map[string]bool // multicast: the ports that want it; nil: all
	known   bool            // a request for a known neighbor
	reached bool
}

// forward finds out where frames go, and sends them.
func (m *model) forward(from string, frames []modelFrame) {
	var fates []*modelFate
	var storm []bool
	for _, f := range frames {
		fate, dropped := m.lookup(from, f)
		fates, storm = append(fates, fate), append(storm, dropped)
	}
	for i, fate := range fates {
		if !storm[i] && fate.wanted != nil && fate.dst != broadcast && fate.dst[0]&1 != 0 {
			m.restrict(from, fate)
		}
	}
	m.askNeighbors(from, fates, storm)
	for name, p := range m.ports {
		var group []modelFrame
		for i, fate := range fates {
			if !storm[i] && m.goesTo(from, fate, name) {
				fate.reached = true
				group = append(group, fate.modelFrame)
			}
		}
		m.send(from, name, p, group)
	}
	for i, fate := range fates {
		if storm[i] || fate.to != "" || fate.reached || fate.wanted == nil {
			continue
		}
		reason := "no-destination"
		switch {
		case fate.known:
			reason = "neigh-suppress"
		case fate.only != nil:
			reason = "no-member"
		}
		m.ports[from].drops[reason]++
	}
}

// lookup finds the destination of a frame. storm is true if storm control drops it. A frame that is
// dropped otherwise has neither destination nor wanted.
func (m *model) lookup(from string, f modelFrame) (fate *modelFate, storm bool) {
	src := m.ports[from]
	fate = &modelFate{modelFrame: f}
	class := src.rates.unknown
	e, known := m.fdb.find(f.dst, f.vlan)
	switch to := m.ports[e.port]; {
	case f.dst == broadcast:
		fate.wanted, class = func(c *vswitch.PortConfig) bool { return c.BcastFlood }, src.rates.bcast
	case f.dst[0]&1 != 0:
		fate.wanted, class = func(c *vswitch.PortConfig) bool { return c.McastFlood }, src.rates.mcast
	case !known:
		fate.wanted = func(c *vswitch.PortConfig) bool { return c.Flood }
	case e.kind == vswitch.FDBBlackhole:
		src.drops["blackhole"]++
	case m.isOutput(e.port):
		src.drops["mirror-output"]++
	case to == src && !src.cfg.Hairpin:
		src.drops["own-port"]++
	case apart(src, to):
		src.drops["policy"]++
	case !to.gets(f):
		src.drops["vlan"]++
	default:
		fate.to = e.port
	}
	if fate.wanted != nil && !(class.take(1) && src.rates.flooded.take(1)) {
		src.drops["storm-control"]++
		return fate, true
	}
	return fate, false
}

// restrict keeps a multicast frame from the ports that do not want it.
func (m *model) restrict(from string, fate *modelFate) {
	limited, to := m.snoop(from, fate.modelFrame)
	if !limited {
		return
	}
	fate.only = make(map[string]bool)
	m.did["to members"]++
	for name := range m.ports {
		fate.only[name] = to(name)
	}
}

// askNeighbors learns from messages about neighbors, and answers some.
func (m *model) askNeighbors(from string, fates []*modelFate, storm []bool) {
	var requests []modelFrame
	var replies [][]byte
	for i, fate := range fates {
		flooded := !storm[i] && fate.wanted != nil && fate.only == nil
		known, reply := m.suppress(from, fate.modelFrame, flooded)
		if fate.known = known; reply != nil {
			fate.reached = true
			requests, replies = append(requests, fate.modelFrame), append(replies, reply)
		}
	}
	if len(replies) > 0 {
		m.answer(from, requests, replies)
	}
}

// goesTo reports whether a frame goes to a port.
func (m *model) goesTo(from string, fate *modelFate, name string) bool {
	src, to := m.ports[from], m.ports[name]
	switch {
	case fate.to != "":
		return fate.to == name
	case fate.wanted == nil, !to.up, m.isOutput(name), to == src && !src.cfg.Hairpin, apart(src, to), !to.gets(fate.modelFrame):
		return false
	case fate.known && to.cfg.NeighSuppress:
		return false
	case fate.only != nil:
		return fate.only[name]
	}
	return fate.wanted(&to.cfg)
}

// send sends frames to a port.
func (m *model) send(from, name string, p *modelPort, group []modelFrame) {
	if !p.up {
		if len(group) > 0 {
			p.drops["port-down"] += uint64(len(group))
		}
		return
	}
	group = m.afford(p, m.filter(p, p.cfg.EgressFilter, group))
	for _, f := range group {
		p.sent = append(p.sent, p.shaped(f))
	}
	m.mirrorTo(name, from, group)
}

// apart reports whether isolation or communities keep frames from port a from port b.
func apart(a, b *modelPort) bool {
	if a.cfg.Community != "" && b.cfg.Community != "" {
		return a.cfg.Community != b.cfg.Community
	}
	grouped := func(p *modelPort) bool { return p.cfg.Isolated || p.cfg.Community != "" }
	return grouped(a) && grouped(b)
}

// expect compares whether a change was made with whether it was to be.
func (m *model) expect(t *testing.T, err error, done bool, what string) {
	t.Helper()
	if (err == nil) != done {
		t.Errorf("%s: error %v, want success: %v", what, err, done)
	}
	if err != nil {
		m.refused[what]++
	}
}

// applied does what follows each change of the configuration.
func (m *model) applied() {
	m.fdb.remove(func(_ modelKey, e modelEntry) bool { return e.ages() && m.isOutput(e.port) })
	if !m.suppresses() {
		m.learned = make(map[neighborKey]modelNeighbor)
	}
}

// configure gives a port a configuration.
func (m *model) configure(name string, c vswitch.PortConfig) {
	p := m.ports[name]
	p.cfg, p.rates = c, ratesOf(&c, p.rates)
	m.pin(name)
	gone := func(vlan uint16) bool { return !p.carries(vlan) }
	m.fdb.remove(func(k modelKey, e modelEntry) bool { return e.port == name && e.moving() && gone(k.vlan) })
	m.forgetGroups(name, gone)
	if p.cfg.McastRouter == "" {
		p.cfg.McastRouter = vswitch.McastRouterAuto
	}
	if p.cfg.McastRouter != vswitch.McastRouterAuto {
		for _, n := range m.nets {
			delete(n.routers, name)
		}
	}
	m.applied()
}

// setUp sets a port up or down.
func (m *model) setUp(name string, up bool) {
	was := m.ports[name].up
	if m.ports[name].up = up; up {
		if !was {
			m.comeUp(name)
		}
		return
	}
	m.fdb.remove(func(_ modelKey, e modelEntry) bool { return e.port == name && e.ages() })
	m.forgetPort(name)
}

// forgetPort removes what messages from a port have said.
func (m *model) forgetPort(name string) {
	m.forgetGroups(name, func(uint16) bool { return true })
	for k, n := range m.learned {
		if n.port == name {
			delete(m.learned, k)
		}
	}
}

// detach removes a port.
func (m *model) detach(name string) {
	delete(m.ports, name)
	delete(m.sticky, name)
	m.fdb.remove(func(_ modelKey, e modelEntry) bool { return e.port == name })
	m.forgetPort(name)
	m.static = slices.DeleteFunc(m.static, func(e vswitch.StaticGroup) bool { return e.Port == name })
	m.applied()
}

// advance moves the clock.
func (m *model) advance(seconds int) {
	for range seconds {
		m.now++
		m.age()
		m.ageGroups()
	}
	for _, p := range m.ports {
		p.rates.fill(seconds)
	}
}

// A run is about 8,000 frames; 130 runs are a million.
const defaultModelRuns = 8

var (
	modelRuns = flag.Int("model.runs", defaultModelRuns, "how many runs of TestAgainstModel")
	modelSeed = flag.Uint64("model.seed", 0, "the seed of the first one")
)

// TestAgainstModel sends random traffic through the switch and the model while ports come, go and
// change, and entries, groups, filters, neighbors and mirrors with them. It compares every byte
// that comes out, every drop and its reason, and what the switch has learned.
func TestAgainstModel(t *testing.T) {
	total := make(map[string]uint64)
	frames := 0
	for i := range uint64(*modelRuns) {
		seed := *modelSeed + i
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			x := newModelRun(t, seed)
			for step := range 400 {
				if x.step(); t.Failed() {
					t.Fatalf("step %d: %s", step, x.last)
				}
			}
			for _, p := range x.m.ports {
				for reason, n := range p.drops {
					total[reason] += n
				}
			}
			for what, n := range x.m.refused {
				total["refused: "+what] += uint64(n)
			}
			for what, n := range x.m.did {
				total[what] += uint64(n)
			}
			frames += x.m.frames
		})
		if !ok {
			return
		}
	}
	for _, reason := range []string{
		"too-short", "reserved-address", "bad-source", "vlan", "source-down", "mirror-output", "filter", "filter-unreadable", "bpdu-guard",
		"mac-spoofed", "ip-spoofed", "dhcp-guard", "ra-guard", "guard-unreadable", "locked", "rate-limit", "blackhole", "own-port", "policy", "port-down",
		"storm-control", "egress-rate", "no-destination", "no-member", "neigh-suppress", "held", "replies", "copies", "to members", "remembered",
		"refused: reload", "refused: add an FDB entry", "refused: add a member",
	} {
		if total[reason] == 0 && *modelRuns >= defaultModelRuns {
			t.Errorf("%s: never", reason)
		}
	}
	t.Logf("%d frames; %v", frames, total)
}

// A modelRun is a switch and a model to which the same happens.
type modelRun struct {
	t    *testing.T
	r    modelRand
	l    *lab
	m    *model
	last string // what has happened last
}

func newModelRun(t *testing.T, seed uint64) *modelRun {
	r := modelRand{Rand: rand.New(rand.NewPCG(seed, 1))}
	r.plain = seed%4 == 3
	r.mirrors, r.rates = r.IntN(3) == 0 && !r.plain, r.IntN(2) == 0
	m := newModel(t, 5)
	m.snooping = r.IntN(3) != 0
	x := &modelRun{t: t, r: r, m: m, l: newLab(t, vswitch.Config{
		FDB: vswitch.FDBConfig{AgingTime: 5 * time.Second}, Mcast: vswitch.McastConfig{Snooping: m.snooping},
	})}
	for m.filters == nil {
		m.changeFilters(t, r, x.l)
	}
	for i := range 6 {
		x.attach(i)
	}
	return x
}

func (x *modelRun) attach(n int) {
	c := x.r.config(n)
	x.l.add(c.Name, func(to *vswitch.PortConfig) { *to = c })
	x.m.ports[c.Name] = &modelPort{up: true, drops: make(map[string]uint64)}
	x.m.configure(c.Name, c)
}

// step sends a batch or makes a change, and compares.
func (x *modelRun) step() {
	t, r, l, m := x.t, x.r, x.l, x.m
	n := r.IntN(6)
	name := fmt.Sprint("p", n)
	p, mp := l.ports[name], m.ports[name]
	kind := r.IntN(40)
	switch kind {
	case 0:
		up := !mp.up || r.IntN(3) != 0 // they are rarely down
		p.SetUp(up)
		m.setUp(name, up)
	case 1, 2:
		c := r.config(n)
		m.expect(t, p.Reconfigure(c), true, "reconfigure")
		m.configure(name, c)
	case 3:
		p.Detach()
		p.in.Close()
		m.detach(name)
		x.attach(n)
	case 4:
		seconds := 1 + r.IntN(4)
		switch r.IntN(30) {
		case 0, 1:
			seconds = 61
		case 2:
			seconds = 300
		}
		x.advance(seconds)
	case 5, 6, 7:
		m.changeFDB(t, r.Rand, l, name)
	case 8, 9:
		m.changeGroups(t, r.Rand, l, name)
	case 10:
		x.changeTimes()
	case 11:
		m.changeFilters(t, r, l)
	case 12:
		x.changeNeighbors()
	case 13:
		x.changeMirrors()
	case 14:
		m.reload(t, r.Rand, l)
	default:
		x.send(name)
	}
	x.last = fmt.Sprintf("act %d at %s", kind, name)
	m.compare(t, l)
}

func (x *modelRun) send(name string) {
	var batch []*modelMessage
	var raw [][]byte
	for i := range 1 + x.r.IntN(vswitch.MaxBatch) {
		f := x.r.message(i)
		batch, raw = append(batch, f), append(raw, f.bytes)
	}
	x.l.send(name, raw...)
	x.m.deliver(name, batch)
	if !x.r.plain {
		return
	}
	// From the third time on, look-ups are remembered, except those that the last frame changes.
	for range x.r.IntN(5) {
		if x.r.IntN(3) == 0 {
			f := x.r.message(len(batch) - 1)
			batch[len(batch)-1], raw[len(batch)-1] = f, f.bytes
		}
		x.l.send(name, raw...)
		x.m.deliver(name, batch)
	}
	x.m.did["remembered"] += x.l.ports[name].in.Remembered()
}

// apply makes a change that is not refused.
func (x *modelRun) apply(c *vswitch.Change) {
	c.KeepStatic = true
	_, err := x.l.s.Apply(c)
	x.m.expect(x.t, err, true, "apply")
}

func (x *modelRun) changeTimes() {
	x.m.holdDown = x.r.IntN(3) * 3
	x.m.ageing = 4 + x.r.IntN(4)
	x.apply(&vswitch.Change{FDB: &vswitch.FDBConfig{
		AgingTime: time.Duration(x.m.ageing) * time.Second, HoldDown: time.Duration(x.m.holdDown) * time.Second,
	}})
	x.m.applied()
	x.advance(1) // the janitor removes what is too old now
}

func (x *modelRun) advance(seconds int) {
	x.l.advance(time.Duration(seconds) * time.Second)
	x.m.advance(seconds)
}

func (x *modelRun) changeNeighbors() {
	x.m.neighbors = nil
	said := make(map[string]bool)
	for range x.r.IntN(5) {
		n := vswitch.Neighbor{
			IP: x.r.addr(x.r.IntN(2) == 0), MAC: x.r.mac(), VLAN: uint16(x.r.IntN(4)), All: x.r.IntN(3) == 0, Router: x.r.IntN(3) == 0,
		}
		if n.All {
			n.VLAN = 0
		}
		if where := fmt.Sprint(n.IP, n.VLAN, n.All); !said[where] {
			said[where] = true
			x.m.neighbors = append(x.m.neighbors, n)
		}
	}
	x.apply(&vswitch.Change{SetNeighbors: true, Neighbors: x.m.neighbors})
	x.m.applied()
}

func (x *modelRun) changeMirrors() {
	if !x.r.mirrors {
		return
	}
	list := x.r.mirrorConfigs()
	x.apply(&vswitch.Change{SetMirrors: true, Mirrors: list})
	was := x.m.mirrors
	x.m.mirrors = nil
	for _, c := range list {
		next := &modelMirror{MirrorConfig: c}
		if i := slices.IndexFunc(was, func(o *modelMirror) bool { return o.Name == c.Name }); i >= 0 {
			next.frames, next.bytes, next.drops = was[i].frames, was[i].bytes, was[i].drops
		}
		x.m.mirrors = append(x.m.mirrors, next)
	}
	x.m.applied()
}

// compare compares what has come out, the counters, and what was learned.
func (m *model) compare(t *testing.T, l *lab) {
	for name, mp := range m.ports {
		var got [][]byte
		for _, s := range l.ports[name].Take() {
			got = append(got, s.Bytes)
		}
		if len(m.mirrors) > 0 { // copies come between other frames
			slices.SortFunc(got, bytes.Compare)
			slices.SortFunc(mp.sent, bytes.Compare)
		}
		if !slices.EqualFunc(got, mp.sent, bytes.Equal) {
			t.Errorf("%s got %d frames, want %d%s", name, len(got), len(mp.sent), firstDifference(got, mp.sent))
		}
		mp.sent = nil
		l.drops(name, mp.drops)
	}
	m.compareFDB(t, l)
	m.compareGroups(t, l)
	m.compareNeighbors(t, l)
	m.compareFilters(t, l)
	m.compareMirrors(t, l)
}

// firstDifference shows the first frames that differ.
func firstDifference(got, want [][]byte) string {
	for i := range max(len(got), len(want)) {
		var a, b []byte
		if i < len(got) {
			a = got[i]
		}
		if i < len(want) {
			b = want[i]
		}
		if !bytes.Equal(a, b) {
			return fmt.Sprintf("; frame %d is\n%x, want\n%x", i, a, b)
		}
	}
	return ""
}
