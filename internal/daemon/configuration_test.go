package daemon

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	"vswitchd/internal/control"
	"vswitchd/internal/tomldoc"
)

// configuration returns the configuration of the lab's daemon, which has just been made from text.
func (l *lab) configuration(text string) *Configuration {
	l.Helper()
	l.load(text) // writes the file
	file := filepath.Join(l.dir, "vswitchd.toml")
	cfg, running, errs := l.kinds.declarations().LoadRunning(file, config.Flags{})
	if len(errs) > 0 {
		l.Fatal(errs)
	}
	return NewConfiguration(l.d, file, config.Flags{}, cfg, running)
}

// edits makes a patch of operations, paths and values.
func edits(parts ...any) (p tomldoc.Patch) {
	for i := 0; i < len(parts); i += 3 {
		path, err := tomldoc.ParsePath(parts[i+1].(string))
		if err != nil {
			panic(err)
		}
		p = append(p, tomldoc.Edit{Op: parts[i].(string), Path: path, Value: parts[i+2]})
	}
	return p
}

// candidates are values for keys; for each key that there is, one of them is not the default.
var candidates = []any{
	true, false, int64(1), int64(2), int64(3), int64(1400), int64(1500), "$", "word", "3s", "7s", "30us", "2M", "2MiB", "0600", "52:54:00:00:00:33", "239.1.1.7", "10.0.0.9",
	"fe80::5", "127.0.0.1:0", "1", "a",
	[]any{int64(3)}, []any{"10.0.0.9"}, []any{"10.0.0.9/24"}, []any{"52:54:00:00:00:33"}, []any{"csum"}, []any{"a"}, []any{"tcp"},
	[]any{"arp"}, []any{"echo-request"}, []any{"syn"}, []any{},
}

// otherValue returns a value that a key takes, and that is neither its default nor what the key is
// set to; nil: it is not set.
func (l *lab) otherValue(header string, k key.Key, set any) any {
	l.Helper()
	if set != nil {
		l.must(k.Set(set))
	}
	was := key.TOML(k.Get())
	list := append([]any{values[k.Name], values[header+" "+k.Name]}, candidates...)
	list[slices.Index(list, any("$"))] = filepath.Join(l.dir, k.Name)
	for _, word := range regexp.MustCompile(`"[^"]+"`).FindAllString(k.Type, -1) {
		list = append(list, strings.Trim(word, `"`), any([]any{strings.Trim(word, `"`)}))
	}
	for _, v := range list {
		if v != nil && k.Set(v) == nil && key.TOML(k.Get()) != was {
			return v
		}
	}
	l.Fatalf("no candidate is another value of %s, a %s", k.Name, k.Type)
	return nil
}

// places are where the test sets keys of a table: a path in base for each header.
var places = map[string]string{
	"[log]": "/log", "[control]": "/control", "[switch]": "/switch", "[sandbox]": "/sandbox",
	"[uplink.NAME]": "/uplink/lan", "[port.NAME]": "/port/a", "[host.NAME]": "/host/vswlive0",
	"[[fdb]]": "/fdb/0", "[[mdb]]": "/mdb/0", "[[neigh]]": "/neigh/0", "[mirror.NAME]": "/mirror/m",
	"[filter.NAME]": "/filter/f", "[[filter.NAME.rules]]": "/filter/f/rules/0", "[set.NAME]": "/set/s",
}

const liveBase = `[log]
level = "info"
[uplink.lan]
interface = "nolink0"
[port.a]
[port.b]
mac = "52:54:00:00:00:02"
neigh_suppress = true
[[fdb]]
mac = "52:54:00:00:00:09"
port = "b"
[[mdb]]
group = "239.1.1.1"
port = "b"
[[neigh]]
ip = "fd00::1"
mac = "52:54:00:00:00:01"
[mirror.m]
select_src = ["a"]
output = "b"
[filter.f]
default = "drop"
rules = [ { name = "r", action = "accept", proto = "tcp" } ]
[filter.a]
default = "accept"
[set.s]
[host.vswlive0]
`

// position matches what an error says of where something is.
var position = regexp.MustCompile(`(in the request|running configuration:\d+|\S+\.toml:\d+)`)

// everything describes everything that the configuration determines.
func (l *lab) everything() string {
	b := l.d.Backend()
	var ports []control.Settings
	for _, p := range b.Ports() {
		ports = append(ports, p.Settings, control.Settings{{Key: p.Name, Value: p.Interface + p.Socket}})
	}
	neighbors := b.Neighbors(-1)
	for i := range neighbors {
		neighbors[i].State, neighbors[i].Port = "", "" // which follow from frames
	}
	mdb := b.MDB(-1)
	fdb := slices.DeleteFunc(strings.Split(l.fdb(), ", "), func(e string) bool { return strings.HasSuffix(e, "vswlive0") }) // follows the interface
	text, err := json.Marshal([]any{ports, b.Mirrors(), b.Filters(), b.Sets(), mdb.Snooping, mdb.Entries, neighbors, fdb, b.Switch().MACAgingS})
	l.must(err)
	return regexp.MustCompile(`"(frames|bytes|drops)":\d+`).ReplaceAllString(string(text), "")
}

// An edit of each key does what a reload of the file does in which the key has been set, or is
// refused for the same reasons. So it is for every key that has a declaration. A reload of the file
// as it was undoes the edit.
func TestEditIsAReload(t *testing.T) {
	l := newLab(t, liveBase)
	l.must(os.Mkdir(filepath.Join(l.dir, "socket_dir"), 0o700))
	c := l.configuration(liveBase)
	file, err := os.ReadFile(c.file)
	l.must(err)
	before, revision := l.everything(), c.Config().Revision
	for _, s := range l.kinds.declarations().Sections() {
		at, ok := places[s.Header]
		if !ok {
			t.Fatalf("the test does not know where %s is", s.Header)
		}
		for _, k := range s.AllKeys() {
			path, err := tomldoc.ParsePath(at + "/" + k.Name)
			l.must(err)
			set, _ := c.running.Load().Document.At(path)
			v := l.otherValue(s.Header, k, set)
			patch := append(tomldoc.Patch{{Op: "add", Path: path, Value: v}}, l.companions(s.Header, k.Name, at)...)
			edited, editErr := c.Edit(patch, "", false)
			if editErr == nil {
				if after := c.Config(); after.Revision == revision || len(after.Differences) == 0 {
					t.Errorf("%s %s: %v is no difference", s.Header, k.Name, v)
				}
			}
			as := l.everything()
			if lines, err := c.Reload(); err != nil || len(lines.Changed) != len(edited.Changed) || l.everything() != before {
				t.Fatalf("%s %s: %v: undone by %q, %v; state %s\nbefore %s", s.Header, k.Name, v, lines.Changed, err, l.everything(), before)
			}
			doc := c.running.Load().Document.Clone()
			l.must(patch.Apply(doc))
			text, err := tomldoc.Rewrite(file, doc)
			l.must(err)
			l.must(os.WriteFile(c.file, text, 0o600))
			reloaded, reloadErr := c.Reload()
			if diff := cmp.Diff(edited.Changed, reloaded.Changed); diff != "" || edited.Revision != reloaded.Revision {
				t.Errorf("%s %s: %v: %s", s.Header, k.Name, v, diff)
			}
			if now := l.everything(); now != as {
				t.Errorf("%s %s: %v: edited %s\nreloaded %s", s.Header, k.Name, v, as, now)
			}
			if a, b := position.ReplaceAllString(fmt.Sprint(editErr), ""), position.ReplaceAllString(fmt.Sprint(reloadErr), ""); a != b {
				t.Errorf("%s %s: %v: edit: %s\nreload: %s", s.Header, k.Name, v, a, b)
			}
			if refused := editErr != nil; refused != (k.Live == key.Restart) || refused && !strings.Contains(editErr.Error(), ErrNeedsRestart.Error()) {
				t.Errorf("%s %s: %v: takes effect %s, but: %v", s.Header, k.Name, v, k.Live, editErr)
			}
			l.must(os.WriteFile(c.file, file, 0o600))
			if _, err := c.Reload(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// companions returns edits without which that of a key is refused.
func (l *lab) companions(header, name, at string) (p tomldoc.Patch) {
	l.Helper()
	for _, e := range append(slices.Clone(companions[name]), companions[header+" "+name]...) {
		path, err := tomldoc.ParsePath(strings.Replace(e.Path.String(), "/%", at, 1))
		l.must(err)
		p = append(p, tomldoc.Edit{Op: e.Op, Path: path, Value: e.Value})
	}
	return p
}

// values are those of keys, by header and key or by key, whose type does not say enough.
var values = map[string]any{
	"ingress_filter": "f", "egress_filter": "f", "filter": "f", "[[filter.NAME.rules]] name": "word", "[[fdb]] port": "a", "[[mdb]] port": "a", "[[fdb]] mac": "52:54:00:00:00:34", "source": "10.0.0.9",
	"select_src": []any{"vswlive0"}, "select_dst": []any{"a"}, "output": "vswlive0", "keep_for": []any{"uplink"}, "ethertype": "ipv4", "icmp_type": "echo-request", "icmpv6_type": "echo-request",
}

// companions are edits by a key, or by a header and a key; % is the path of the key's table.
var companions = map[string]tomldoc.Patch{
	"cvlans":                 edits("add", "/%/vlan_mode", "dot1q-tunnel", "add", "/%/tag", int64(5)),
	"qinq_ethtype":           edits("add", "/%/vlan_mode", "dot1q-tunnel", "add", "/%/tag", int64(5)),
	"allowed_link_local":     edits("add", "/%/allowed_macs", []any{"52:54:00:00:00:33"}, "add", "/%/allowed_ips", []any{"10.0.0.9"}),
	"ingress_policing_burst": edits("add", "/%/ingress_policing_rate", "2M"),
	"egress_burst":           edits("add", "/%/egress_rate", "2M"),
	"mcast_querier":          edits("add", "/switch/mcast_snooping", true),
	"mcast_querier_vlans":    edits("add", "/switch/mcast_snooping", true, "add", "/switch/mcast_querier", true),
	"no_new_privs":           edits("add", "/sandbox/landlock", false, "add", "/sandbox/seccomp", false),
	"blackhole":              edits("remove", "/fdb/0/port", nil),
	"output_vlan":            edits("remove", "/mirror/m/output", nil),
	"icmp_type":              edits("remove", "/filter/f/rules/0/proto", nil),
	"icmpv6_type":            edits("remove", "/filter/f/rules/0/proto", nil),
}
