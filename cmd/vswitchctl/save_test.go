package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vswitchd/internal/config"
	"vswitchd/internal/tomldoc"
)

// files returns the names in a directory.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// open opens and locks a file as a command with --save does.
func open(t *testing.T, name string) *newFile {
	t.Helper()
	f, err := openFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A file that is replaced keeps its owner, its mode and the symbolic links to it.
func TestSaveKeepsOwnerModeAndLinks(t *testing.T) {
	dir, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	name := filepath.Join(dir, "v.toml")
	must(t, os.WriteFile(name, []byte("old"), 0o600))
	must(t, os.Chmod(name, 0o640))
	must(t, os.Symlink(name, link))
	owner := uint32(os.Getuid())
	if os.Chown(name, 12345, 12345) == nil { // which only root can do
		owner = 12345
	}
	f := open(t, link)
	must(t, f.write([]byte("new")))
	if text, err := os.ReadFile(link); err != nil || string(text) != "old" {
		t.Errorf("before the file is replaced: %q %v", text, err)
	}
	must(t, f.commit())
	f.discard()
	if at, err := os.Readlink(link); err != nil || at != name {
		t.Errorf("the link: %s %v", at, err)
	}
	info, err := os.Stat(name)
	must(t, err)
	text, err := os.ReadFile(name)
	must(t, err)
	if stat := info.Sys().(*syscall.Stat_t); string(text) != "new" || info.Mode() != 0o640 || stat.Uid != owner {
		t.Errorf("%q %v, owner %d", text, info.Mode(), stat.Uid)
	}
	if names := files(t, dir); !slices.Equal(names, []string{"v.toml"}) {
		t.Errorf("files: %v", names)
	}
}

// A file that somebody changes between its being read and its being replaced stays as it is.
func TestSaveNoticesThatTheFileHasChanged(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "v.toml")
	must(t, os.WriteFile(name, []byte("old"), 0o600))
	f := open(t, name)
	must(t, f.write([]byte("new")))
	must(t, os.WriteFile(name, []byte("an editor's"), 0o600))
	if err := f.commit(); err == nil || err.Error() != name+" has been changed meanwhile" {
		t.Errorf("commit: %v", err)
	}
	f.discard()
	if text, err := os.ReadFile(name); err != nil || string(text) != "an editor's" {
		t.Errorf("%q %v", text, err)
	}
	if names := files(t, dir); !slices.Equal(names, []string{"v.toml"}) {
		t.Errorf("files: %v", names)
	}
}

// A second command that saves waits for the first, and then reads what that has written.
func TestSavesWaitForEachOther(t *testing.T) {
	name := filepath.Join(t.TempDir(), "v.toml")
	must(t, os.WriteFile(name, []byte("0"), 0o600))
	const each, commands = 20, 4
	done := make(chan error, commands)
	for range commands {
		go func() {
			for range each {
				f, err := openFile(name)
				if err == nil {
					if err = f.write(append(f.text, '+')); err == nil {
						err = f.commit()
					}
					f.discard()
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range commands {
		must(t, <-done)
	}
	if text, err := os.ReadFile(name); err != nil || string(text) != "0"+strings.Repeat("+", each*commands) {
		t.Errorf("%q %v", text, err)
	}
}

// A change that vswitchd refuses at last is not saved, and leaves nothing behind; nor does one
// whose file could not be replaced go unmentioned.
func TestSaveOfARefusedChange(t *testing.T) {
	const text = "[control]\nsocket = \"$/control\"\n[switch]\nsocket_dir = \"$\"\n[port.a]\n"
	d := newDesk(t, text, config.Flags{})
	before := files(t, d.dir)
	out := d.run("port", "add", "b", "socket="+d.file, "--save")
	if want := "exit 1: change refused, nothing has changed\nin the request: port.b.socket: $/v.toml: exists and is not a socket\n"; out != want {
		t.Errorf("%s; want %s", out, want)
	}
	if now := files(t, d.dir); !slices.Equal(now, before) || d.text() != text {
		t.Errorf("files %v, %s", now, d.text())
	}
	must(t, os.Remove(d.file))
	must(t, os.Mkdir(d.file, 0o700))
	if out := d.run("port", "add", "b", "--save"); !strings.Contains(out, "is a directory\nnothing has changed, and nothing is saved\n") {
		t.Error(out)
	}
	if out := d.run("-j", "config", "show"); strings.Contains(out, `"b"`) {
		t.Errorf("the port is there: %s", out)
	}
}

// The list of keys has a type that the command line can read for each key.
func TestKeysHaveTypes(t *testing.T) {
	var tables []struct {
		Header string
		Keys   []keyInfo
	}
	must(t, json.Unmarshal(keysJSON, &tables))
	for _, table := range tables {
		for _, k := range keysOf(table.Header) {
			kind := strings.FieldsFunc(k.Type, func(r rune) bool { return r == ',' || r == ' ' })[0]
			if !slices.Contains([]string{"string", "integer", "boolean", "list"}, kind) || k.Name == "" || k.Doc == "" || k.Live == "" {
				t.Errorf("%s: %+v", table.Header, k)
			}
		}
	}
}

// Values are read as TOML, or without its quotes and brackets.
func TestParseSettings(t *testing.T) {
	for _, tt := range []struct{ header, arg, want string }{
		{"[port.NAME]", "tag=10", "10"},
		{"[port.NAME]", "tag=0x10", "16"},
		{"[port.NAME]", "tag=ten", `"ten"`},
		{"[port.NAME]", "tag=10 # x", "10"},
		{"[port.NAME]", "tag=10\nmtu = 5", `"10\nmtu = 5"`},
		{"[port.NAME]", "isolated=true", "true"},
		{"[port.NAME]", "isolated=yes", `"yes"`},
		{"[port.NAME]", "trunks=10,20-30", `[10, "20-30"]`},
		{"[port.NAME]", "trunks=", `[]`},
		{"[port.NAME]", "trunks=[1, 2]", `[1, 2]`},
		{"[port.NAME]", "egress_rate=1G", `"1G"`},
		{"[port.NAME]", `egress_rate="1G"`, `"1G"`},
		{"[port.NAME]", "socket_mode=0660", `"0660"`},
		{"[port.NAME]", "mac=", `""`},
		{"[port.NAME]", "description=a=b, c", `"a=b, c"`},
		{"[port.NAME]", "allowed_ips=10.0.0.0/24,fd00::1", `["10.0.0.0/24", "fd00::1"]`},
		{"[port.NAME]", "offloads=csum,tso", `["csum", "tso"]`},
		{"[host.NAME]", "addresses=10.0.0.1/24", `["10.0.0.1/24"]`},
		{"[[filter.NAME.rules]]", "dst_ports=80,8000-8080,@web", `[80, "8000-8080", "@web"]`},
		{"[[filter.NAME.rules]]", "proto=tcp,47", `["tcp", "47"]`},
		{"[[filter.NAME.rules]]", "fragment=any", `"any"`},
		{"[[filter.NAME.rules]]", "fragment=true", `true`},
		{"[switch]", "poll=always", `"always"`},
	} {
		list, err := parseSettings(keysOf(tt.header), []string{tt.arg})
		if err != nil || len(list) != 1 {
			t.Errorf("%s: %v", tt.arg, err)
			continue
		}
		if got := tomldoc.Literal(list[0].value); got != tt.want {
			t.Errorf("%s: %s; want %s", tt.arg, got, tt.want)
		}
	}
}

// The help about a command that sets keys has all keys that can be set, in 80 columns.
func TestHelpListsKeys(t *testing.T) {
	for args, header := range map[string]string{
		"port add": "[port.NAME]", "port set": "[port.NAME]", "uplink set": "[uplink.NAME]", "host add": "[host.NAME]", "mirror set": "[mirror.NAME]",
		"filter add": "[filter.NAME]", "filter rule add": "[[filter.NAME.rules]]", "filter rule replace": "[[filter.NAME.rules]]", "switch set": "[switch]", "log set": "[log]",
	} {
		var out, errs strings.Builder
		if code := run(append(strings.Fields(args), "--help"), &out, &errs); code != exitOK {
			t.Fatalf("%s: %s", args, errs.String())
		}
		for _, k := range keysOf(header) {
			if listed := strings.Contains(out.String(), "\n  "+k.Name+"\n"); listed != (k.Live != "restart") {
				t.Errorf("%s: key %s, which takes effect %s, is listed: %v", args, k.Name, k.Live, listed)
			}
		}
		help, _, _ := strings.Cut(out.String(), "\nUsage:")
		for line := range strings.Lines(help) {
			if len([]rune(line)) > 81 {
				t.Errorf("%s: %d columns: %s", args, len([]rune(line)), line)
			}
		}
	}
}
