package config_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	"vswitchd/internal/port/guest"
	"vswitchd/internal/port/uplinkport"
	vswitch "vswitchd/switch"
	"vswitchd/vhostuser/netport"
)

var kinds = config.Kinds{uplinkport.Declaration, guest.Declaration}

// onlyValues makes cmp ignore the positions of values.
var onlyValues = cmp.Options{
	cmpopts.IgnoreUnexported(config.Log{}, config.Control{}, config.Switch{}, config.Sandbox{}, config.Access{}, config.Port{}, config.FDBEntry{}, config.MDBEntry{}, config.Mirror{}),
	cmp.Comparer(func(a, b *config.Kind) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func TestParseEmptyFileIsDefaults(t *testing.T) {
	got, errs := kinds.Parse("f", nil)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	access := config.Access{UID: -1, GID: -1, Mode: 0o660}
	want := &config.Config{
		Log:     config.Log{Level: "info", Format: "text"},
		Control: config.Control{Socket: "/run/vswitchd/control.sock", Access: access},
		Sandbox: config.Sandbox{Landlock: true, Seccomp: true, Capabilities: true, NoNewPrivs: true},
		Switch: config.Switch{
			MACAging: 5 * time.Minute, MACTable: 8192, Workers: 1, Poll: config.Poll{Adaptive: true},
			Latency:   100 * time.Microsecond,
			SocketDir: "/run/vswitchd", PortSockets: access, McastUnregistered: vswitch.McastToRouters,
			McastQuerier:  vswitch.QuerierConfig{IGMP: 3, MLD: 2},
			LoopDetection: true, LoopBlockTime: 30 * time.Second,
		},
	}
	if diff := cmp.Diff(want, got, onlyValues, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseEverything(t *testing.T) {
	got, errs := kinds.Parse("f", []byte(`
[port.vm2]                      # before [switch], and not in alphabetical order
mode = "client"
socket = "/tmp//x/../vm2.sock"
socket_mode = "0600"
queues = 4
rx_queue_len = 500
mac = "52:54:00:00:00:02"
tag = 7
vlan_mode = "dot1q-tunnel"
cvlans = ["9-11", 7]
qinq_ethtype = "802.1q"
priority = 3
learning = false
flood = false
mcast_flood = false
bcast_flood = false
isolated = true
hairpin = true
max_macs = 3
mcast_router = "never"
mcast_fast_leave = true
ingress_policing_rate = "1500K"
ingress_policing_burst = "64KiB"
ingress_policing_pps = 1000
egress_rate = "10G"
egress_burst = "1MiB"
storm_control_pps = 2000
storm_control_bcast_pps = 100
storm_control_mcast_pps = 200
storm_control_unknown_pps = 300
group_fwd_mask = 0x4004
allowed_macs = ["52:54:00:00:00:03", "52:54:00:00:00:02", "52:54:00:00:00:03"]
allowed_ips = ["fd00::/64", "10.0.0.2", "10.0.0.2/32"]
allowed_link_local = "eui64"
locked = true
dhcp_guard = true
ra_guard = true
bpdu_guard = true
offloads = ["tso", "csum", "tso"]
max_memory = "24GiB"
disk_memory = true

[port.vm1]
trunks = [30, 10, "30-32"]
loop_detection = false

[uplink.lan]
interface = "eth1"
promiscuous = false
vlan_mode = "native-untagged"
priority_tags = "no"
priority_override = true
tag = 1
trunks = [2]

[sandbox]
landlock = false
paths = ["/tmp/x/", "/y"]
keep_for = ["uplink"]

[switch]
mac_aging_time = "5m"
mac_table_size = 100
workers = 2
cpus = [1, 0]
poll = "always"
latency = "20us"
socket_dir = "/tmp/s/"
socket_owner = "0"
socket_group = "root"
socket_mode = "0777"
mcast_snooping = true
mcast_unregistered = "flood"
mcast_querier = true
mcast_querier_vlans = ["6-7", 5]
mcast_querier_ipv4 = "10.0.0.2"
mcast_querier_ipv6 = "fe80::2"
mcast_igmp_version = 2
mcast_mld_version = 1
loop_detection = false
loop_block_time = "2m"

[log]
level = "debug"
format = "json"

[control]
socket = "/tmp/c"
socket_group = "12"
socket_mode = "0600"
metrics = "127.0.0.1:9747"

[mirror.m1]
select_all = true
select_src = ["vm1", "lan"]
select_dst = ["vm1"]
select_vlan = [7, 5, 7]
filter = "web"
output = "vm2"
output_vlan = 4094
snaplen = 128

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

[[mdb]]
group = "239.1.1.1"
port = "lan"
[[mdb]]
group = "FF05::1"
port = "vm1"
vlan = 30
source = "2001:db8::1"
`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	got.Warnings = nil // some of these settings have no effect together with others
	all := vswitch.PortConfig{Learning: true, Flood: true, McastFlood: true, BcastFlood: true, McastRouter: vswitch.McastRouterAuto,
		QinQ: vswitch.QinQ8021AD, PriorityTags: vswitch.PriorityTagsKeep, LoopDetection: true}
	lan, vm1 := all, all
	lan.Role, lan.Announce, vm1.LoopDetection = vswitch.RoleUplink, true, false
	lan.Name, lan.VLANMode, lan.Tag, lan.Trunks = "lan", vswitch.VLANNativeUntagged, 1, []uint16{2}
	lan.PriorityTags, lan.PriorityOverride = vswitch.PriorityTagsNo, true
	vm1.Name, vm1.VLANMode, vm1.Trunks = "vm1", vswitch.VLANTrunk, []uint16{10, 30, 31, 32}
	mac := vswitch.MAC{0x52, 0x54, 0, 0, 0, 1}
	want := &config.Config{
		Log:     config.Log{Level: "debug", Format: "json"},
		Sandbox: config.Sandbox{Seccomp: true, Capabilities: true, NoNewPrivs: true, Paths: []string{"/tmp/x", "/y"}, KeepFor: []string{"uplink"}},
		Control: config.Control{Socket: "/tmp/c", Access: config.Access{UID: -1, GID: 12, Mode: 0o600}, Metrics: "127.0.0.1:9747"},
		Switch: config.Switch{
			MACAging: 5 * time.Minute, MACTable: 100, Workers: 2, CPUs: []int{1, 0},
			Poll: config.Poll{Always: true}, Latency: 20 * time.Microsecond, SocketDir: "/tmp/s", PortSockets: config.Access{Mode: 0o777},
			McastSnooping: true, McastUnregistered: vswitch.McastFlooded,
			McastQuerier: vswitch.QuerierConfig{
				On: true, VLANs: []uint16{5, 6, 7}, IGMP: 2, MLD: 1,
				IPv4: netip.MustParseAddr("10.0.0.2"), IPv6: netip.MustParseAddr("fe80::2"),
			},
			LoopBlockTime: 2 * time.Minute,
		},
		MDB: []config.MDBEntry{
			{StaticGroup: vswitch.StaticGroup{Group: netip.MustParseAddr("239.1.1.1"), VLAN: 1, Port: "lan"}},
			{StaticGroup: vswitch.StaticGroup{Group: netip.MustParseAddr("ff05::1"), VLAN: 30, Port: "vm1", Source: netip.MustParseAddr("2001:db8::1")}},
		},
		Mirrors: []*config.Mirror{{MirrorConfig: vswitch.MirrorConfig{
			Name: "m1", SelectAll: true, SelectSrc: []string{"vm1", "lan"}, SelectDst: []string{"vm1"},
			SelectVLAN: []uint16{5, 7}, Filter: "web", Output: "vm2", OutputVLAN: 4094, Snaplen: 128,
		}}},
		Ports: []*config.Port{
			{Kind: uplinkport.Declaration, PortConfig: lan, Settings: &uplinkport.Settings{Interface: "eth1"}},
			{
				Kind: guest.Declaration,
				PortConfig: vswitch.PortConfig{
					Name: "vm2", MACs: []vswitch.MAC{{0x52, 0x54, 0, 0, 0, 2}},
					VLANMode: vswitch.VLANTunnel, Tag: 7, CVLANs: []uint16{7, 9, 10, 11}, QinQ: vswitch.QinQ8021Q, Priority: 3,
					PriorityTags: vswitch.PriorityTagsKeep, Isolated: true, Hairpin: true, GroupFwdMask: 0x4004, MaxMACs: 3,
					Guards: vswitch.Guards{
						AllowedMACs: []vswitch.MAC{{0x52, 0x54, 0, 0, 0, 2}, {0x52, 0x54, 0, 0, 0, 3}}, Locked: true, BPDU: true,
						AllowedIPs:     []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("fd00::/64")},
						EUI64LinkLocal: true, DHCP: true, RA: true,
					},
					McastRouter: vswitch.McastRouterNever, McastFastLeave: true,
					IngressPolicingRate: 1.5e6, IngressPolicingBurst: 64 << 10, IngressPolicingPPS: 1000,
					EgressRate: 10e9, EgressBurst: 1 << 20, StormControlPPS: 2000, LoopDetection: true,
					StormControlBcastPPS: 100, StormControlMcastPPS: 200, StormControlUnknownPPS: 300,
				},
				Settings: &guest.Settings{
					Mode: guest.ModeClient, Socket: "/tmp/vm2.sock", Access: config.Access{Mode: 0o600}, Queues: 4, QueueLen: 500,
					MaxMemory: 24 << 30, DiskMemory: true, Offloads: netport.OffloadCsum | netport.OffloadTSO,
				},
			},
			{
				Kind: guest.Declaration, PortConfig: vm1,
				Settings: &guest.Settings{
					Mode: guest.ModeServer, Socket: "/tmp/s/vm1.sock", Access: config.Access{Mode: 0o777}, Queues: 1, QueueLen: 1000,
					MaxMemory: 1 << 40, Offloads: netport.AllOffloads,
				},
			},
		},
		FDB: []config.FDBEntry{
			{StaticEntry: vswitch.StaticEntry{MAC: mac, VLAN: 10, Port: "vm1"}},
			{StaticEntry: vswitch.StaticEntry{MAC: mac, VLAN: 7, Port: "vm2"}},
			{StaticEntry: vswitch.StaticEntry{MAC: mac, VLAN: 2, Port: "lan"}},
		},
	}
	if diff := cmp.Diff(want, got, onlyValues, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	if at := got.Ports[1].At("mac").String(); at != "f:8" {
		t.Errorf("port.vm2.mac is at %s", at)
	}
	if at := got.Ports[2].At("mac").String(); at != "f:44" {
		t.Errorf("port.vm1 begins at %s", at)
	}
}

// The files contain the expected errors themselves, after "#!" on the line of the error; "|"
// separates several errors.
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
			_, errs := kinds.Parse("f", data)
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
		{"[switch]\nworkers = 99_999_999_999_999_999_999\n", "f:2: switch.workers: 99_999_999_999_999_999_999 is too large or too small"},
		{"[switch]\nworkers = -1e999\n", "f:2: switch.workers: -1e999 is too large or too small"},
		{"[port.a]\ntag = ?\n[port.a]\n", "f:2: port.a.tag: expected value but found '?' instead"},
		{"[log]\nlevel.x = 1\nlevel.x.y = 1\n", "f:3: log.level.x: defined twice"},
	} {
		_, errs := kinds.Parse("f", []byte(tt.doc))
		if got := errs.Error(); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.doc, got, tt.want)
		}
	}
}

func TestParseLongPaths(t *testing.T) {
	fits := "/" + strings.Repeat("x", key.MaxSocketPath-1)
	if _, errs := kinds.Parse("f", []byte(`port.a.socket = "`+fits+`"`)); len(errs) > 0 {
		t.Error(errs)
	}
	_, errs := kinds.Parse("f", []byte("[control]\nsocket = \""+fits+"y\"\n[port.a]\nsocket = \""+fits+"y\"\n"))
	const want = "f:2: control.socket: the path of the socket is 108 bytes long, at most 107 are possible\n" +
		"f:4: port.a.socket: the path of the socket is 108 bytes long, at most 107 are possible"
	if errs.Error() != want {
		t.Error(errs)
	}
	_, errs = kinds.Parse("f", []byte("[switch]\nsocket_dir = \""+fits+"\"\n[port.a]\n"))
	if want := "f:3: port.a.socket: the path of the socket is 114 bytes long, at most 107 are possible"; errs.Error() != want {
		t.Error(errs)
	}
}

func TestLoad(t *testing.T) {
	_, errs := kinds.Load("/nonexistent/f", config.Flags{})
	if want := "/nonexistent/f: cannot read the configuration: no such file or directory"; errs.Error() != want {
		t.Error(errs)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("[port.a]\n[log]\nlevel = \"warn\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, errs := kinds.Load(path, config.Flags{Ports: []string{"b=/tmp/b", "c"}, Uplinks: []string{"eth0"}, LogLevel: "error", LogFormat: "json", Control: "/tmp/c"})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var got []string
	for _, p := range cfg.Ports {
		got = append(got, p.Name+" "+p.Place().Name+" "+p.VLANMode.String())
	}
	want := []string{"eth0 eth0 trunk", "a /run/vswitchd/a.sock trunk", "b /tmp/b trunk", "c /run/vswitchd/c.sock trunk"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if cfg.Log.Level != "error" || !cfg.Log.JSON() || cfg.Control.Socket != "/tmp/c" {
		t.Errorf("log %+v, control %+v", cfg.Log, cfg.Control)
	}
}

func TestFlagErrors(t *testing.T) {
	_, errs := kinds.Load("", config.Flags{
		Ports:    []string{"a", "a=/tmp/2", "b/c", "d=", "e=" + strings.Repeat("x", 108), "f=/run/vswitchd/a.sock"},
		Uplinks:  []string{"", "a", "eth:1"},
		LogLevel: "loud",
	})
	want := `--log-level loud: log.level: is "loud", must be one of "trace", "debug", "info", "warn", "error"
--port a=/tmp/2: port.a: there is a port of this name already: port.a in --port a
--port b/c: port.b/c: the name "b/c" must consist of letters, digits and . _ -
--port d=: port.d.socket: must not be empty
--port e=` + strings.Repeat("x", 108) + `: port.e.socket: the path of the socket is 108 bytes long, at most 107 are possible
--uplink : uplink..interface: "" is no name of a network interface
--uplink a: uplink.a: there is a port of this name already: port.a in --port a
--uplink eth:1: uplink.eth:1.interface: "eth:1" is no name of a network interface
--port f=/run/vswitchd/a.sock: port.f.socket: /run/vswitchd/a.sock is the socket of port.a already`
	if diff := cmp.Diff(want, errs.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestSinglePortHasNoControlSocketUnasked(t *testing.T) {
	cfg, errs := kinds.Load("", config.Flags{FD: 5})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if g := cfg.Ports[0].Settings.(*guest.Settings); len(cfg.Ports) != 1 || g.FD != 5 || g.Socket != "" || cfg.Control.Socket != "" {
		t.Errorf("%+v", cfg)
	}
	cfg, errs = kinds.Load("", config.Flags{SocketPath: "/tmp/s", Control: "/tmp/c"})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if len(cfg.Ports) != 1 || cfg.Ports[0].Place().Name != "/tmp/s" || cfg.Control.Socket != "/tmp/c" {
		t.Errorf("%+v", cfg)
	}
}

// The file descriptor of --fd cannot be set in the file.
func TestFlagOnlyKeysAreNotInTheFile(t *testing.T) {
	_, errs := kinds.Parse("f", []byte("[port.a]\nfd = 5\n"))
	if got := errs.Error(); got != "f:2: port.a.fd: unknown key" {
		t.Error(got)
	}
}

// A missing interface causes a warning, because the interface may appear later. There are no
// warnings about interfaces if the file has errors.
func TestCheckWarnsOfMissingInterfaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	check := func(doc, errors, warnings string, flags config.Flags) {
		t.Helper()
		if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, errs := kinds.Examine(file, flags)
		if got := strings.ReplaceAll(errs.Error(), file, "f"); got != errors {
			t.Errorf("errors\n%s\nwant\n%s", got, errors)
		}
		if errors != "" {
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
	check(good, "", "", config.Flags{})
	check(good+"[uplink.b]\ninterface = \"no-such-if\"\n", "", missing, config.Flags{})
	check(good+"[uplink.b]\ninterface = \"no-such-if\"\n", "",
		missing+"\n"+`--uplink nothing: uplink.nothing.interface: there is no network interface "nothing" now, the uplink will wait for it`,
		config.Flags{Uplinks: []string{"nothing"}})
	check(good+"[uplink.b]\ninterface = \"no-such-if\"\n[port.a]\n[switch]\nworkers = 0\n[uplink.c]\n[uplink.d]\ninterface = 7\n",
		"f:5: port.a: there is a port of this name already: uplink.a in f:1\n"+
			"f:7: switch.workers: is 0, must be from 1 to 128\n"+
			"f:8: uplink.c.interface: is missing\n"+
			"f:10: uplink.d.interface: is an integer, must be a string", "", config.Flags{})
	check("[uplink.b]\ninterface = \n", "f:2: uplink.b.interface: expected value but found '\\n' instead", "", config.Flags{})
}

func TestDifferencesAreNotOfTheLine(t *testing.T) {
	parse := func(doc string) *config.Config {
		cfg, errs := kinds.Parse("f", []byte(doc))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		return cfg
	}
	a := parse("[port.a]\ntag = 3\n[uplink.b]\ninterface = \"x\"\n")
	b := parse("\n[uplink.b]\ninterface = \"x\"\n[port.a]\ntag = 3\nvlan_mode = \"access\"\nsocket = \"/run/./vswitchd//a.sock\"\n")
	for i := range a.Ports {
		if d := a.Ports[i].Differing(b.Ports[i]); len(d) > 0 {
			t.Errorf("%s: the ports are equal, but %s is reported as different", a.Ports[i].Name, d[0].Name)
		}
	}
	c := parse("[port.a]\ntag = 4\n[uplink.b]\ninterface = \"y\"\n")
	for i := range a.Ports {
		if len(a.Ports[i].Differing(c.Ports[i])) != 1 {
			t.Errorf("%s: the ports differ, but no difference is reported", a.Ports[i].Name)
		}
	}
}

// Every key of a port can be set to its current value in TOML's notation.
func TestPortKeysTakeWhatTheyShow(t *testing.T) {
	cfg, errs := kinds.Parse("f", []byte("[port.a]\nmac = \"52:54:00:00:00:01\"\ntrunks = [3, 4]\n[uplink.b]\ninterface = \"x\"\ntag = 4\n"))
	if errs != nil {
		t.Fatal(errs)
	}
	for _, p := range cfg.Ports {
		for _, k := range p.Keys() {
			if k.Flag {
				continue
			}
			was := key.TOML(k.Get())
			var doc map[string]any
			if _, err := toml.Decode("v = "+was, &doc); err != nil {
				t.Errorf("%s: %s is not valid TOML: %v", k.Name, was, err)
				continue
			}
			if err := k.Set(doc["v"]); err != nil || key.TOML(k.Get()) != was {
				t.Errorf("%s: %v; was %s, is %s", k.Name, err, was, key.TOML(k.Get()))
			}
		}
	}
}
