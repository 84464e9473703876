package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var ignoreWhere = cmpopts.IgnoreTypes(where{})

func TestParseEmptyFileIsDefaults(t *testing.T) {
	got, errs := Parse("f", nil)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if diff := cmp.Diff(defaults(), got, ignoreWhere); diff != "" {
		t.Error(diff)
	}
}

func TestParseEverything(t *testing.T) {
	got, errs := Parse("f", []byte(`
[port.vm2]                      # before [switch], and not in alphabetical order
mode = "client"
socket = "/tmp//x/../vm2.sock"
socket_mode = "0600"
queues = 4
mac = "52:54:00:00:00:02"
tag = 7
learning = false
flood = false
mcast_flood = false
bcast_flood = false
isolated = true
hairpin = true
max_macs = 3
group_fwd_mask = 0x4004
offloads = ["tso", "csum", "tso"]
max_memory = "24GiB"
disk_memory = true

[port.vm1]
trunks = [30, 10, 30]

[uplink.lan]
interface = "eth1"
promiscuous = false
vlan_mode = "native-untagged"
tag = 1
trunks = [2]

[switch]
mac_aging_time = "5m"
mac_table_size = 100
workers = 2
cpus = [1, 0]
poll = "always"
socket_dir = "/tmp/s/"
socket_owner = "0"
socket_group = "root"
socket_mode = "0777"
mcast_snooping = false

[log]
level = "debug"
format = "json"

[control]
socket = "/tmp/c"
socket_group = "12"
socket_mode = "0600"
metrics = "127.0.0.1:9747"

[[fdb]]
mac = "52-54-00-00-00-01"
vlan = 10
port = "vm1"
[[fdb]]
mac = "52-54-00-00-00-01"
port = "vm2"
[[fdb]]
mac = "52:54:00:00:00:01"
vlan = 2
port = "lan"
`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	want := &Config{
		Log:     Log{Level: "debug", JSON: true},
		Control: Control{Socket: "/tmp/c", Access: Access{UID: -1, GID: 12, Mode: 0o600}, Metrics: "127.0.0.1:9747"},
		Switch: Switch{
			MACAging: 5 * time.Minute, MACTable: 100, Workers: 2, CPUs: []int{1, 0},
			Poll: Poll{Always: true}, SocketDir: "/tmp/s", PortSockets: Access{0, 0, 0o777},
		},
		Uplinks: []Uplink{{
			Name: "lan", Interface: "eth1",
			Bridging: Bridging{
				VLANMode: VLANNativeUntagged, Tag: 1, Trunks: []uint16{2},
				Learning: true, Flood: true, McastFlood: true, BcastFlood: true,
			},
		}},
		Ports: []Port{{
			Name: "vm2", Mode: ModeClient, Socket: "/tmp/vm2.sock", Access: Access{0, 0, 0o600}, Queues: 4,
			MAC:       net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2},
			MaxMemory: 24 << 30, DiskMemory: true,
			Offloads: []Offload{OffloadCsum, OffloadTSO},
			Bridging: Bridging{VLANMode: VLANAccess, Tag: 7, Isolated: true, Hairpin: true, GroupFwd: 0x4004, MaxMACs: 3},
		}, {
			Name: "vm1", Mode: ModeServer, Socket: "/tmp/s/vm1.sock", Access: Access{0, 0, 0o777}, Queues: 1,
			MaxMemory: 1 << 40,
			Offloads:  []Offload{OffloadCsum, OffloadTSO, OffloadUFO, OffloadUSO},
			Bridging: Bridging{
				VLANMode: VLANTrunk, Trunks: []uint16{10, 30},
				Learning: true, Flood: true, McastFlood: true, BcastFlood: true,
			},
		}},
		FDB: []FDBEntry{
			{MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}, VLAN: 10, Port: "vm1"},
			{MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}, VLAN: 7, Port: "vm2"},
			{MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}, VLAN: 2, Port: "lan"},
		},
	}
	if diff := cmp.Diff(want, got, ignoreWhere); diff != "" {
		t.Error(diff)
	}
	if at := got.Ports[0].At("mac").String(); at != "f:7" {
		t.Errorf("port.vm2.mac is at %s", at)
	}
	if at := got.Ports[1].At("mac").String(); at != "f:21" {
		t.Errorf("port.vm1 begins at %s", at)
	}
}

// Errors are written into the files themselves, behind "#!" on the line that
// they are about; several are divided by "|".
func TestParseReportsEveryErrorWithItsLine(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for i, line := range strings.Split(string(data), "\n") {
				if _, msgs, ok := strings.Cut(line, "#! "); ok {
					for _, msg := range strings.Split(msgs, " | ") {
						want = append(want, fmt.Sprintf("f:%d: %s", i+1, msg))
					}
				}
			}
			_, errs := Parse("f", data)
			if diff := cmp.Diff(strings.Join(want, "\n"), errs.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseSyntaxErrors(t *testing.T) {
	for _, tt := range []struct{ doc, want string }{
		{"[log]\nlevel = \n", `f:2: log.level: expected value but found '\n' instead`},
		{"[port.vm1\n", "f:1: expected '.' or ']' to end table name, but got '\\n' instead"},
		{"[port.vm1]\n[port.vm1]\ntag = ?", "f:2: port.vm1: defined twice"},
		{"a = 1\n[a.b]\n", "f:2: a: defined twice"},
		{"\xff", "f:1: invalid UTF-8 byte: 0xff"},
	} {
		_, errs := Parse("f", []byte(tt.doc))
		if got := errs.Error(); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.doc, got, tt.want)
		}
	}
}

func TestParseLongPaths(t *testing.T) {
	fits := "/" + strings.Repeat("x", MaxSocketPath-1)
	if _, errs := Parse("f", []byte(`port.a.socket = "`+fits+`"`)); len(errs) > 0 {
		t.Error(errs)
	}
	_, errs := Parse("f", []byte("[control]\nsocket = \""+fits+"y\"\n[port.a]\nsocket = \""+fits+"y\"\n"))
	const want = "f:2: control.socket: the path of the socket is 108 bytes long, at most 107 are possible\n" +
		"f:4: port.a.socket: the path of the socket is 108 bytes long, at most 107 are possible"
	if errs.Error() != want {
		t.Error(errs)
	}
	_, errs = Parse("f", []byte("[switch]\nsocket_dir = \""+fits+"\"\n[port.a]\n"))
	if want := "f:3: port.a.socket: the path of the socket is 114 bytes long, at most 107 are possible"; errs.Error() != want {
		t.Error(errs)
	}
}

// Snooping is off until it is built: who asks for it must not be left to believe that it is on.
func TestMcastSnooping(t *testing.T) {
	if _, errs := Parse("f", []byte("[switch]\nmcast_snooping = false\n")); len(errs) > 0 {
		t.Errorf("false is refused: %v", errs)
	}
	_, errs := Parse("f", []byte("[switch]\nmcast_snooping = true\n"))
	want := "f:2: switch.mcast_snooping: multicast snooping is not built yet: multicast goes to all ports; must be false"
	if errs.Error() != want {
		t.Errorf("got %v, want %s", errs, want)
	}
}

func TestLoad(t *testing.T) {
	_, errs := Load("/nonexistent/f", Flags{})
	if want := "/nonexistent/f: cannot read the configuration: no such file or directory"; errs.Error() != want {
		t.Error(errs)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("[port.a]\n[log]\nlevel = \"warn\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, errs := Load(path, Flags{Ports: []string{"b=/tmp/b", "c"}, Uplinks: []string{"eth0"}, LogLevel: "error", LogFormat: "json", Control: "/tmp/c"})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var got []string
	for _, p := range cfg.Ports {
		got = append(got, p.Name+" "+p.Socket)
	}
	want := []string{"a /run/vswitchd/a.sock", "b /tmp/b", "c /run/vswitchd/c.sock"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(cfg.Uplinks) != 1 || cfg.Uplinks[0].Interface != "eth0" || cfg.Uplinks[0].VLANMode != VLANTrunk {
		t.Errorf("uplinks: %+v", cfg.Uplinks)
	}
	if cfg.Log != (Log{Level: "error", JSON: true}) || cfg.Control.Socket != "/tmp/c" {
		t.Errorf("log %+v, control %+v", cfg.Log, cfg.Control)
	}
}

func TestFlagErrors(t *testing.T) {
	_, errs := Load("", Flags{
		Ports:    []string{"a", "a=/tmp/2", "b/c", "d=", "e=" + strings.Repeat("x", 108), "f=/run/vswitchd/a.sock"},
		Uplinks:  []string{"", "a", "eth:1"},
		LogLevel: "loud",
	})
	want := `--log-level loud: log.level: is "loud", must be one of "trace", "debug", "info", "warn", "error"
--port a=/tmp/2: port.a: there is a port of this name already: port.a in --port a
--port b/c: port.b/c: the name "b/c" must consist of letters, digits and . _ -
--uplink : uplink..interface: "" is no name of a network interface
--uplink a: uplink.a: there is a port of this name already: port.a in --port a
--uplink eth:1: uplink.eth:1.interface: "eth:1" is no name of a network interface
--port d=: port.d.socket: must not be empty
--port e=` + strings.Repeat("x", 108) + `: port.e.socket: the path of the socket is 108 bytes long, at most 107 are possible
--port f=/run/vswitchd/a.sock: port.f.socket: /run/vswitchd/a.sock is the socket of port.a already`
	if diff := cmp.Diff(want, errs.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestSinglePortHasNoControlSocketUnasked(t *testing.T) {
	cfg, errs := Load("", Flags{FD: 5})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if len(cfg.Ports) != 1 || cfg.Ports[0].FD != 5 || cfg.Ports[0].Socket != "" || cfg.Control.Socket != "" {
		t.Errorf("%+v", cfg)
	}
	cfg, errs = Load("", Flags{SocketPath: "/tmp/s", Control: "/tmp/c"})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if len(cfg.Ports) != 1 || cfg.Ports[0].Socket != "/tmp/s" || cfg.Control.Socket != "/tmp/c" {
		t.Errorf("%+v", cfg)
	}
}

// An interface that is not there is a warning, since it may come; errors of the file come first.
func TestCheckWarnsOfMissingInterfaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	check := func(doc, errors, warnings string, flags Flags) {
		t.Helper()
		if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, errs := Check(file, flags)
		if got := strings.ReplaceAll(errs.Error(), file, "f"); got != errors {
			t.Errorf("errors\n%s\nwant\n%s", got, errors)
		}
		if (cfg == nil) != (errors != "") {
			t.Fatalf("configuration is %v", cfg)
		}
		if cfg == nil {
			return
		}
		if got := strings.ReplaceAll(cfg.Warnings.Error(), file, "f"); got != warnings {
			t.Errorf("warnings\n%s\nwant\n%s", got, warnings)
		}
	}
	const (
		good    = "[uplink.a]\ninterface = \"lo\"\n"
		missing = `f:4: uplink.b.interface: there is no network interface "no-such-if" now, the uplink will wait for it`
	)
	check(good, "", "", Flags{})
	check(good+"[uplink.b]\ninterface = \"no-such-if\"\n", "", missing, Flags{})
	check(good+"[uplink.b]\ninterface = \"no-such-if\"\n", "",
		missing+"\n"+`--uplink nothing: uplink.nothing.interface: there is no network interface "nothing" now, the uplink will wait for it`,
		Flags{Uplinks: []string{"nothing"}})
	check(good+"[uplink.b]\ninterface = \"no-such-if\"\n[port.a]\n[switch]\nworkers = 0\n[uplink.c]\n[uplink.d]\ninterface = 7\n",
		"f:5: port.a: there is a port of this name already: uplink.a in f:1\n"+
			"f:7: switch.workers: is 0, must be from 1 to 128\n"+
			"f:8: uplink.c.interface: is missing\n"+
			"f:10: uplink.d.interface: is an integer, must be a string", "", Flags{})
	check("[uplink.b]\ninterface = \n", "f:2: uplink.b.interface: expected value but found '\\n' instead", "", Flags{})
}

func TestEqualIgnoresTheLine(t *testing.T) {
	parse := func(doc string) *Config {
		cfg, errs := Parse("f", []byte(doc))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		return cfg
	}
	a := parse("[port.a]\ntag = 3\n[uplink.b]\ninterface = \"x\"\n")
	b := parse("\n[uplink.b]\ninterface = \"x\"\n[port.a]\ntag = 3\nvlan_mode = \"access\"\n")
	if !a.Ports[0].Equal(&b.Ports[0]) || !a.Uplinks[0].Equal(&b.Uplinks[0]) {
		t.Error("alike, but not equal")
	}
	c := parse("[port.a]\ntag = 4\n[uplink.b]\ninterface = \"y\"\n")
	if a.Ports[0].Equal(&c.Ports[0]) || a.Uplinks[0].Equal(&c.Uplinks[0]) {
		t.Error("different, but equal")
	}
}
