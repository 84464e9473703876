package daemon

import (
	"context"
	"strings"
	"testing"

	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	"vswitchd/internal/control"
	"vswitchd/internal/port"
	vswitch "vswitchd/switch"
)

// A wireKind is a kind of port that exists only in this test: [wire.NAME] with the key end. It
// records the calls of the daemon.
type wireKind struct {
	declaration *config.Kind
	did         *[]string
}

type wireSettings struct{ End string }

func (s *wireSettings) Keys(*vswitch.PortConfig) []key.Key {
	return []key.Key{{Name: "end", Value: key.Text(&s.End), Required: true, Example: `"x"`}}
}

func (s *wireSettings) Place() config.Place {
	return config.Place{Key: "end", Is: "end", Name: s.End, ID: s.End}
}

func newWireKind() wireKind {
	return wireKind{did: new([]string), declaration: &config.Kind{
		Name: "wire", Table: "wire", Example: "w", Says: "a wire has an end",
		New: func(string, *config.Switch) config.Settings { return &wireSettings{} },
	}}
}

func (k wireKind) note(words ...string) { *k.did = append(*k.did, strings.Join(words, " ")) }

// takes returns the calls recorded since the last takes.
func (k wireKind) takes() string {
	s := strings.Join(*k.did, ", ")
	*k.did = nil
	return s
}

func (k wireKind) Declaration() *config.Kind              { return k.declaration }
func (wireKind) Reasons() control.Reasons                 { return control.Reasons{Drops: []string{"wire-cut"}} }
func (wireKind) CheckMachine(*config.Port) config.Errors  { return nil }
func (wireKind) CheckPlace(*config.Port) config.Errors    { return nil }
func (wireKind) HostAddresses(*config.Port) []vswitch.MAC { return nil }
func (wireKind) Needs(*config.Port) port.Needs            { return port.Needs{} }
func (k wireKind) Start(port.Env) (port.Opener, error)    { return k, nil }
func (k wireKind) Changed()                               {}
func (k wireKind) Limits() []control.Limit                { return nil }
func (k wireKind) Close()                                 { k.note("end") }
func (k wireKind) Open(_ context.Context, p *config.Port, _ *vswitch.Counters) (port.Port, error) {
	k.note("open", p.Name, p.Settings.(*wireSettings).End)
	return &wirePort{k}, nil
}

type wirePort struct{ k wireKind }

func (*wirePort) Transmit(frames []*vswitch.Frame) int { return len(frames) }
func (*wirePort) Caps() vswitch.Caps                   { return vswitch.Caps{} }

func (w *wirePort) Transmitter() vswitch.Port          { return w }
func (w *wirePort) Begin(*vswitch.Attachment)          { w.k.note("begin") }
func (w *wirePort) Count(stats *control.PortStats)     { stats.State = control.StateRunning }
func (w *wirePort) Describe(*control.PortInfo)         {}
func (w *wirePort) DescribeDetail(*control.PortDetail) {}
func (w *wirePort) Close()                             { w.k.note("close") }

func (w *wirePort) Prepare(_ context.Context, was, will *config.Port) (port.Change, error) {
	w.k.note("prepare", was.Settings.(*wireSettings).End, "->", will.Settings.(*wireSettings).End)
	return port.Change{Apply: func() { w.k.note("apply") }, Undo: func() { w.k.note("undo") }}, nil
}

// Adding a kind to the list of kinds is sufficient: its tables are read, its ports are opened,
// changed, shown and closed, and a refused reload is rolled back.
func TestAnotherKindOfPort(t *testing.T) {
	k := newWireKind()
	l := newLabOf(t, append(allKinds(), k), "[wire.w]\nend = \"x\"\n[port.a]\n")
	check := func(what, want string) {
		t.Helper()
		if got := k.takes(); got != want {
			t.Errorf("%s: %s; want %s", what, got, want)
		}
	}
	check("start", "open w x, begin")
	if p := l.port("w"); p.Kind != "wire" || p.State != control.StateRunning || p.Settings.Get("end") != "x" {
		t.Errorf("shown: %+v", p)
	}
	if r := l.d.Backend().Reasons("wire"); r.Drops[len(r.Drops)-1] != "wire-cut" {
		t.Errorf("reasons: %v", r)
	}
	l.refuses("[wire.w]\nend = \"z\"\n[port.a]\n[port.b]\nsocket = \"$nowhere/b\"\n", "there is no directory")
	check("refused", "prepare x -> z, undo")
	l.reload("[wire.w]\nend = \"y\"\n[port.a]\n", "port w reconfigured")
	check("changed", "prepare x -> y, apply")
	l.reload("[wire.v]\nend = \"y\"\n[port.a]\n", "port w renamed to v")
	check("renamed", "prepare y -> y, apply")
	l.refuses("[wire.v]\nend = \"y\"\n[wire.u]\nend = \"u\"\n[port.a]\n[port.b]\nsocket = \"$nowhere/b\"\n", "there is no directory")
	check("a new one, refused", "prepare y -> y, open u u, close, undo")
	l.reload("[port.a]\n", "port v removed")
	check("removed", "close")
	if _, errs := l.d.kinds.declarations().Parse("f", []byte("[wire.w]\nend = \"x\"\nsocket = \"/x\"\n[port.a]\nend = \"x\"\n[wire.v]\nend = \"x\"\n")); errs.Error() !=
		"f:3: wire.w.socket: belongs to [port.NAME], a wire has an end\n"+
			"f:5: port.a.end: belongs to [wire.NAME], a port has a socket\n"+
			"f:7: wire.v.end: x is the end of wire.w already" {
		t.Errorf("hints: %v", errs)
	}
}
