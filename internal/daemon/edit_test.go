package daemon

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/tomldoc"
)

// Edits change what they name, under traffic of others, until a reload undoes them.
func TestEditsWhileGuestsTalk(t *testing.T) {
	const ab = "[port.a]\n[port.b]\n"
	l := newLab(t, ab)
	c := l.configuration(ab)
	a, b := l.talk("a", "b")
	for _, step := range []struct {
		patch tomldoc.Patch
		want  []string
	}{
		{nil, nil},
		{edits("add", "/port/c", &tomldoc.Table{}), []string{"port c added"}},
		{edits("add", "/port/c/tag", int64(7)), []string{"port c reconfigured"}},
		{edits("add", "/mirror/m/output", "c"), nil}, // refused: the mirror is not there
		{edits("add", "/filter/f", parse(t, "default = \"accept\"\n"), "add", "/port/c/ingress_filter", "f", "add", "/port/c/egress_rate", "1M"),
			[]string{"port c reconfigured", "filter f added"}},
		{edits("add", "/filter/f/rules", []any{parse(t, "name = \"r\"\naction = \"drop\"\n")}), []string{"filter f changed"}},
		{edits("add", "/mirror/m", parse(t, "select_src = [\"c\"]\noutput = \"d\"\n"), "add", "/port/d", &tomldoc.Table{}), []string{"port d added", "mirror m added"}},
		{edits("remove", "/mirror", nil, "remove", "/port/d", nil), []string{"port d removed", "mirror m removed"}},
		{edits("move", "/port/e", nil), nil}, // refused: a move has no "from" here
		{edits("replace", "/switch/poll", "0s"), nil},
		{edits("add", "/switch/poll", "0s"), []string{"switch.poll changed"}},
	} {
		change, err := c.Edit(step.patch, "", false)
		if diff := cmp.Diff(step.want, []string(change.Changed)); diff != "" {
			t.Errorf("%v: %v: %s", step.patch, err, diff)
		}
		l.must(a.Await(200))
		l.must(b.Await(200))
	}
	if got := l.port("c"); got.Settings.Get("tag") != "7" || got.Settings.Get("egress_rate") != "1M" {
		t.Errorf("c: %+v", got.Settings)
	}
	change, err := c.Reload()
	l.must(err)
	if diff := cmp.Diff([]string{"port c removed", "filter f removed", "switch.poll changed"}, []string(change.Changed)); diff != "" {
		t.Error(diff)
	}
	if diff := c.Config().Differences; len(diff) > 0 {
		t.Errorf("after a reload: %v", diff)
	}
	for _, name := range []string{"a", "b"} {
		if p := l.port(name); p.Counters.Reconnects != 0 || len(p.Counters.Drops) != 0 || len(p.Counters.Resets) != 0 {
			t.Errorf("port %s: %+v", name, p.Counters)
		}
	}
}

func parse(t *testing.T, text string) *tomldoc.Table {
	t.Helper()
	doc, err := tomldoc.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// An edit that is refused changes nothing, and the reason says whether the request or what runs
// already is wrong.
func TestRefusedEdits(t *testing.T) {
	const text = "[port.a]\nmac = \"52:54:00:00:00:01\"\n[port.b]\n[port.o]\n[mirror.m]\nselect_src = [\"a\"]\noutput = \"o\"\n"
	l := newLab(t, text)
	c := l.configuration(text)
	l.talk("a", "b")
	l.must(os.WriteFile(l.dir+"/file", nil, 0o600))
	same, before := l.expectUnchanged(), c.Config()
	for _, tt := range []struct {
		patch tomldoc.Patch
		want  string
	}{
		{edits("add", "/port/a/tag", int64(9999)), "in the request: port.a.tag: is 9999, must be from 0 to 4095"},
		{edits("add", "/port/a/tga", int64(9)), `in the request: port.a.tga: unknown key; did you mean "tag"?`},
		{edits("add", "/prot/a", &tomldoc.Table{}), `in the request: prot: unknown table; did you mean "port"?`},
		{edits("add", "/port/c", parse(t, "mac = \"52:54:00:00:00:01\"")), "in the request: port.c.mac: 52:54:00:00:00:01 in VLAN 0 is there already, in port.a"},
		{edits("add", "/port/c", parse(t, "socket = \""+l.dir+"/file\"")), "in the request: port.c.socket: " + l.dir + "/file: exists and is not a socket"},
		{edits("remove", "/port/o", nil), "running configuration:14: mirror.m.output: no such port: o"},
		{edits("remove", "/port/c", nil), "edit 0: remove /port/c: there is no /port/c"},
		{edits("add", "/port/c/tag", int64(1)), "edit 0: add /port/c/tag: there is no /port/c"},
		{edits("add", "/port/aa/tag", int64(1)), `edit 0: add /port/aa/tag: there is no /port/aa; did you mean "a"?`},
		{edits("replace", "/port/b", "x"), "in the request: port.b: is a string, must be a table [port.NAME]"},
		{edits("add", "/fdb/-", parse(t, "port = \"a\"")), "in the request: fdb[0].mac: is missing"},
		{edits("add", "/fdb/1", parse(t, "port = \"a\"")), `edit 0: add /fdb/1: "1" is no index of an array of 0 elements`},
		{edits("add", "/switch/workers", int64(2)), "in the request: switch.workers: cannot change while vswitchd is running, restart it"},
		{edits("add", "/port/b/tag", int64(5), "add", "/port/a/tag", "x"), "in the request: port.a.tag: is a string, must be an integer"},
		{edits("add", "/port/a/description", strings.Repeat("x", 17<<20)), "the configuration would have more than 16 MiB"},
		{edits("test", "/port/a/mac", "x", "add", "/port/b/tag", int64(5)), `edit 0: test /port/a/mac: the value is "52:54:00:00:00:01"`},
	} {
		for _, try := range []bool{true, false} {
			if opens := strings.Contains(tt.want, "is not a socket"); try && opens {
				continue // which nobody knows who does not try to open it
			}
			change, err := c.Edit(tt.patch, "", try)
			if err == nil || err.Error() != tt.want {
				t.Errorf("%.200v: %v %.200v; want %s", tt.patch, change, err, tt.want)
			}
		}
	}
	same()
	if diff := cmp.Diff(before, c.Config()); diff != "" {
		t.Errorf("the configuration has changed: %s", diff)
	}
}

// Trying an edit says what the edit would change, and changes nothing.
func TestTryChangesNothing(t *testing.T) {
	const text = "[port.a]\n[port.b]\n"
	l := newLab(t, text)
	c := l.configuration(text)
	l.talk("a", "b")
	same, before := l.expectUnchanged(), c.Config()
	patch := edits("add", "/port/c", &tomldoc.Table{}, "add", "/port/a/max_macs", int64(5), "add", "/log/level", "warn")
	want := []string{"port a reconfigured", "port c added", "log.level: info -> warn"}
	tried, err := c.Edit(patch, "", true)
	if diff := cmp.Diff(want, []string(tried.Changed)); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	file, err := c.TryFile(before.Text + "\n[port.c]\n")
	if diff := cmp.Diff([]string{"port c added"}, []string(file.Changed)); err != nil || diff != "" {
		t.Errorf("a file: %v %s", err, diff)
	}
	if _, err := c.TryFile("[port.c]\ntag = 5000\n"); err == nil || !strings.Contains(err.Error(), "toml:2: port.c.tag: is 5000") {
		t.Errorf("a wrong file: %v", err)
	}
	same()
	if diff := cmp.Diff(before, c.Config()); diff != "" {
		t.Errorf("the configuration has changed: %s", diff)
	}
	change, err := c.Edit(patch, before.Revision, false)
	if diff := cmp.Diff(tried.Changed, change.Changed); err != nil || diff != "" {
		t.Errorf("%v: tried and done differ: %s", err, diff)
	}
}

// Of two operators who have seen the same configuration, only the first can edit it.
func TestEditOfAnotherRevisionIsRefused(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	c := l.configuration("[port.a]\n")
	seen := c.Config().Revision
	if _, err := c.Edit(edits("add", "/port/a/tag", int64(5)), seen, false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Edit(edits("add", "/port/a/tag", int64(6)), seen, false); err != control.ErrRevision {
		t.Errorf("the second: %v", err)
	}
	if tag := l.port("a").VLAN.Tag; tag != 5 {
		t.Errorf("tag %d", tag)
	}
}

// Edits leave alone what was changed by hand in other parts of the configuration; a reload restores
// these as the file has them.
func TestEditsKeepWhatWasChangedByHand(t *testing.T) {
	const text = `mcast_snooping = true
[port.a]
[port.b]
[[fdb]]
mac = "52:54:00:00:00:08"
port = "a"
[[fdb]]
mac = "52:54:00:00:00:09"
port = "b"
[[mdb]]
group = "239.1.1.1"
port = "a"
[set.s]
addresses = ["10.0.0.1", "10.0.0.2"]
`
	l := newLab(t, text)
	c := l.configuration(text)
	b := l.d.Backend()
	l.must(b.DeleteFDB(control.MAC{0x52, 0x54, 0, 0, 0, 9}, -1))
	_, err := b.AddFDB(control.FDBAddition{MAC: control.MAC{0x52, 0x54, 0, 0, 0, 7}, Port: "b", VLAN: -1, Type: "static"})
	l.must(err)
	_, err = b.DeleteMember(control.Member{Group: netip.MustParseAddr("239.1.1.1"), Port: "a", VLAN: -1})
	l.must(err)
	_, err = b.ChangeSet("s", control.SetChange{Add: &control.SetEntries{Addresses: []string{"10.0.0.3"}}, Del: &control.SetEntries{Addresses: []string{"10.0.0.1"}}})
	l.must(err)
	state := func() string {
		var sets []string
		for _, s := range b.Sets() {
			sets = append(sets, s.Addresses...)
		}
		slices.Sort(sets)
		groups := 0
		for _, e := range b.MDB(-1).Entries {
			if e.Type == "static" {
				groups++
			}
		}
		return strings.ReplaceAll(l.fdb(), "52:54:00:00:00:", "") + " " + strings.Join(sets, ",") + strings.Repeat(" member", groups)
	}
	const byHand = "07/0 b, 08/0 a 10.0.0.2,10.0.0.3"
	check := func(after, want string) {
		t.Helper()
		if got := state(); got != want {
			t.Errorf("after %s: %s; want %s", after, got, want)
		}
	}
	check("the changes by hand", byHand)
	for path, v := range map[string]any{"/port/a/max_macs": int64(7), "/port/c": &tomldoc.Table{}, "/switch/mac_aging_time": "9s", "/neigh/-": parse(t, "ip = \"10.0.0.1\"\nmac = \"52:54:00:00:00:01\"")} {
		if _, err := c.Edit(edits("add", path, v), "", false); err != nil {
			t.Fatal(err)
		}
		check("an edit of "+path, byHand)
	}
	if _, err := c.Edit(edits("add", "/set/s/addresses/-", "10.0.0.4"), "", false); err != nil {
		t.Fatal(err)
	}
	check("an edit of the set", "07/0 b, 08/0 a 10.0.0.2,10.0.0.3,10.0.0.4")
	if _, err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	check("a reload", "07/0 b, 08/0 a, 09/0 b 10.0.0.1,10.0.0.2,10.0.0.3 member")
}

// The document of what runs means what the file and the flags mean together.
func TestDocumentHasWhatFlagsAdd(t *testing.T) {
	l := newLab(t, "")
	for _, tt := range []struct {
		file  string
		flags config.Flags
	}{
		{"", config.Flags{}},
		{"[port.a]\n[log]\nlevel = \"warn\"\n", config.Flags{Ports: []string{"b", "c=" + l.dir + "/c"}, Uplinks: []string{"nolink0"}, LogLevel: "debug", LogFormat: "json", Control: l.dir + "/x", Metrics: "127.0.0.1:1"}},
		{"", config.Flags{SocketPath: l.dir + "/one"}},
		{"[control]\nsocket = \"" + l.dir + "/y\"\n", config.Flags{SocketPath: l.dir + "/one"}},
		{"", config.Flags{FD: 77}},
	} {
		want, running, errs := l.kinds.declarations().ParseRunning("f", []byte(tt.file), tt.flags)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		got, _, err := running.Edit(nil)
		if err != nil {
			t.Fatal(err)
		}
		if restart := got.NeedRestart(want); len(restart) > 0 {
			t.Errorf("%+v: %v", tt, restart)
		}
		if got.Log.Level != want.Log.Level || len(got.Ports) != len(want.Ports) {
			t.Fatalf("%+v: %d ports, %d are wanted", tt, len(got.Ports), len(want.Ports))
		}
		for i, p := range got.Ports {
			if differ := p.Differing(want.Ports[i]); p.Name != want.Ports[i].Name || len(differ) > 0 {
				t.Errorf("%+v: port %s: %v", tt, p.Name, differ)
			}
		}
	}
}

// A daemon without a file, and one whose file has become wrong, say so.
func TestConfigOfNoFile(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	c := l.configuration("[port.a]\n")
	l.must(os.WriteFile(c.file, []byte("[port.a]\ntag = 5000\n"), 0o600))
	if f := c.Config().File; f.Document == nil || !strings.Contains(f.Error, "port.a.tag: is 5000") {
		t.Errorf("a wrong file: %+v", f)
	}
	l.must(os.WriteFile(c.file, []byte("[port.a\n"), 0o600))
	if f := c.Config().File; f.Document != nil || !strings.Contains(f.Error, "toml:1: ") {
		t.Errorf("no TOML: %+v", f)
	}
	c.file = ""
	if info := c.Config(); info.File != nil || len(info.Differences) == 0 {
		t.Errorf("no file: %+v", info)
	}
}
