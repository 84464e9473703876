package daemon

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vswitchd/internal/config"
)

// examine returns the configuration and the errors that --check would report. text is as for load.
func (l *lab) examine(text string) (*config.Config, config.Errors) {
	l.Helper()
	file := filepath.Join(l.dir, "vswitchd.toml")
	head := "[control]\nsocket = \"" + filepath.Join(l.dir, "control") + "\"\n[switch]\nsocket_dir = \"" + l.dir + "\"\n"
	if err := os.WriteFile(file, []byte(head+strings.ReplaceAll(text, "$", l.dir+"/")), 0o600); err != nil {
		l.Fatal(err)
	}
	cfg, errs := Kinds().Examine(file, config.Flags{})
	if cfg != nil {
		errs = errs.With(Check(cfg))
	}
	for i := range errs {
		if errs[i].Line == 0 || errs[i].Key == "" {
			l.Errorf("%v has no line or no key", errs[i])
		}
		errs[i].File = "f"
	}
	return cfg, errs
}

// A check reports every error that prevents a start, with its line and key.
func TestCheckReportsEverything(t *testing.T) {
	l := newLab(t, "")
	l.must(os.WriteFile(l.dir+"/file", nil, 0o600))
	_, errs := l.examine(`workers = 2
cpus = [0, 900]
mac_table_size = 10
[port.a]
tag = 4095
colour = "red"
[port.b]
socket = "$nowhere/b.sock"
[port.c]
socket = "$file"
mac = "52:54:00:00:00:01"
trunks = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
[port.d]
trunks = [5]
mac = "52:54:00:00:00:01"
[port.e]
ingress_policing_burst = "64KiB"
[port.f]
egress_burst = "64KiB"
[uplink.lan]
interface = "lo"
[[fdb]]
mac = "52:54:00:00:00:02"
port = "dd"
[mirror.m]
output = "c"
output_vlan = 5
[mirror.m]
[[mdb]]
group = "239.1.1.1"
port = "dd"
`)
	want := `f:6: switch.cpus: there is no CPU 900, or vswitchd may not use it
f:9: port.a.tag: bad VLAN setting: tag 4095 is not in 0 to 4094
f:10: port.a.colour: unknown key
f:12: port.b.socket: there is no directory $nowhere
f:14: port.c.socket: $file exists and is not a socket
f:19: port.d.mac: 52:54:00:00:00:01 in VLAN 5 is there already, in port.c
f:21: port.e.ingress_policing_burst: bad rate: ingress_policing_burst is set without ingress_policing_rate
f:23: port.f.egress_burst: bad rate: egress_burst is set without egress_rate
f:25: uplink.lan.interface: lo: not an Ethernet interface
f:28: fdb[0].port: there is no port or uplink "dd"; did you mean "d"?
f:29: mirror.m.select_src: bad mirror: it selects no frames: select_all, select_src and select_dst are missing
f:31: mirror.m.output_vlan: bad mirror: it has an output as well
f:32: mirror.m: defined twice, first in line 29
f:35: mdb[0].port: there is no port or uplink "dd"; did you mean "d"?`
	if got := strings.ReplaceAll(errs.Error(), l.dir+"/", "$"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	_, errs = l.examine("[port.a]\nallowed_macs = [\"52:54:00:00:00:01\"]\nmac = \"52:54:00:00:00:02\"\n")
	if len(errs) != 1 || errs[0].Key != "port.a.allowed_macs" || errs[0].Line != 6 {
		t.Errorf("the port's own address is not allowed: %v", errs)
	}
	_, errs = l.examine("[port.a]\nallowed_ips = [\"::/0\"]\nallowed_link_local = \"eui64\"\n")
	if len(errs) != 1 || errs[0].Key != "port.a.allowed_link_local" || errs[0].Line != 7 {
		t.Errorf("link-local addresses without anything that they could be made of: %v", errs)
	}
	_, errs = l.examine("[port.a]\nisolated = true\ncommunity = \"blue\"\n[port.b]\ncommunity = \"not a name\"\n")
	if len(errs) != 2 || errs[0].Key != "port.a.community" || errs[0].Line != 7 || errs[1].Key != "port.b.community" || errs[1].Line != 9 {
		t.Errorf("communities: %v", errs)
	}
	_, errs = l.examine("mac_table_size = 10\n[port.c]\nmac = \"52:54:00:00:00:01\"\ntrunks = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]\n")
	if len(errs) != 1 || errs[0].Key != "switch.mac_table_size" || errs[0].Line != 5 {
		t.Errorf("more pins than entries: %v", errs)
	}
}

// Contradictions are errors with a line, by a check and by a reload, which then changes nothing.
func TestContradictions(t *testing.T) {
	const before = "[port.a]\n[port.b]\n[host.br0]\nmac = \"02:00:00:00:00:51\"\n"
	l := newLab(t, before)
	const (
		filter = "[filter.f]\ndefault = \"drop\"\n[[filter.f.rules]]\nname = \"r\"\naction = \"accept\"\n"
		mac    = "mac = \"52:54:00:00:00:01\"\n"
	)
	for _, tt := range []struct{ name, text, want string }{
		{"a filter that does not exist", "[port.c]\ningress_filter = \"none\"\n", "f:10: port.c.ingress_filter: no such filter: none"},
		{"a mirror's filter that does not exist", "[mirror.m]\nselect_src = [\"a\"]\noutput = \"b\"\nfilter = \"none\"\n", "f:12: mirror.m.filter: no such filter: none"},
		{"a set that does not exist", filter + "src = \"@none\"\n", "f:14: filter.f.rules[0].src: no such set: none"},
		{"overlapping addresses in a set", "[set.s]\naddresses = [\"10.0.0.0/8\", \"10.1.0.0/16\"]\n", "f:10: set.s.addresses: bad set: 10.1.0.0/16 overlaps 10.0.0.0/8"},
		{"overlapping ports in a set", "[set.s]\nports = [\"1-9\", 9]\n", "f:10: set.s.ports: bad set: 9 overlaps 1-9"},
		{"a rule that can never match", filter + "proto = \"icmp\"\nsrc = \"fd00::/8\"\n", "f:15: filter.f.rules[0].src: bad filter: fd00::/8 is IPv6, and the rule matches IPv4 packets only"},
		{"a burst without a rate", "[port.c]\ningress_policing_rate = \"0\"\ningress_policing_burst = \"1MiB\"\n",
			"f:11: port.c.ingress_policing_burst: bad rate: ingress_policing_burst is set without ingress_policing_rate"},
		{"an egress burst without a rate", "[port.c]\negress_burst = \"1MiB\"\n", "f:10: port.c.egress_burst: bad rate: egress_burst is set without egress_rate"},
		{"a mirror of its output", "[mirror.m]\nselect_src = [\"a\"]\noutput = \"a\"\n", "f:10: mirror.m.select_src: bad mirror: a is the output of mirror m"},
		{"mirrors of each other", "[mirror.m]\nselect_src = [\"a\"]\noutput = \"b\"\n[mirror.n]\nselect_dst = [\"b\"]\noutput = \"a\"\n",
			"f:10: mirror.m.select_src: bad mirror: a is the output of mirror n\nf:13: mirror.n.select_dst: bad mirror: b is the output of mirror m"},
		{"a mirror of its output VLAN alone", "[mirror.m]\nselect_src = [\"a\"]\nselect_vlan = [5]\noutput_vlan = 5\n",
			"f:11: mirror.m.select_vlan: bad mirror: it selects no frames: those in output_vlan are not copied"},
		{"a community of an isolated port", "[port.c]\nisolated = true\ncommunity = \"x\"\n", "f:11: port.c.community: bad community: an isolated port cannot be in a community"},
		{"trunks of an access port", "[port.c]\ntag = 5\ntrunks = [6]\n",
			`f:11: port.c.trunks: a port with a tag carries that VLAN alone, unless vlan_mode is "native-tagged" or "native-untagged"`},
		{"customers' VLANs without a tunnel", "[port.c]\ncvlans = [5]\n", `f:10: port.c.cvlans: belongs to ports with vlan_mode "dot1q-tunnel"`},
		{"a tunnel's tag without a tunnel", "[port.c]\nqinq_ethtype = \"802.1q\"\n", `f:10: port.c.qinq_ethtype: belongs to ports with vlan_mode "dot1q-tunnel"`},
		{"a tunnel without a tag", "[port.c]\nvlan_mode = \"dot1q-tunnel\"\n", "f:10: port.c.vlan_mode: needs a tag, the VLAN of the tunnel"},
		{"a member twice", "[[mdb]]\ngroup = \"239.1.1.1\"\nport = \"a\"\n[[mdb]]\ngroup = \"239.1.1.1\"\nport = \"a\"\nsource = \"10.0.0.1\"\n",
			"f:13: mdb[1].group: a gets 239.1.1.1 in VLAN 0 already, by mdb[0]"},
		{"a member of a link-local group", "[[mdb]]\ngroup = \"ff02::5\"\nport = \"a\"\n",
			`f:10: mdb[0].group: is "ff02::5": not a group that ports can be members of: frames to ff02::5, a link-local group, go to all ports`},
		{"a neighbor twice", "[[neigh]]\nip = \"10.0.0.1\"\n" + mac + "[[neigh]]\nip = \"10.0.0.1\"\n" + mac, "f:13: neigh[1].ip: 10.0.0.1 is there already, in neigh[0]"},
		{"a neighbor's group address", "[[neigh]]\nip = \"10.0.0.1\"\nmac = \"01:00:5e:00:00:01\"\n", "f:11: neigh[0].mac: 01:00:5e:00:00:01 is a multicast address, must be that of one station"},
		{"an IPv6 router with an IPv4 address", "[[neigh]]\nip = \"10.0.0.1\"\nrouter = true\n" + mac, "f:11: neigh[0].router: belongs to IPv6 addresses, 10.0.0.1 is none"},
		{"a blackhole of a guest's address", "[port.c]\n" + mac + "[[fdb]]\nblackhole = true\n" + mac, "f:13: fdb[0].mac: 52:54:00:00:00:01 in every VLAN is there already, in port.c"},
		{"a blackhole of the host's address", "[[fdb]]\nblackhole = true\nmac = \"02:00:00:00:00:51\"\n", "f:11: fdb[0].mac: 02:00:00:00:00:51 in every VLAN is there already, in host.br0"},
		{"a host port that may not use its address", "[host.br1]\naddresses = [\"10.0.0.1/24\"]\nallowed_ips = [\"10.1.0.0/16\"]\n",
			"f:11: host.br1.allowed_ips: the host could not use 10.0.0.1: it is not among them"},
		{"guards that contradict each other", "[port.c]\n" + mac + "allowed_macs = [\"52:54:00:00:00:02\"]\n",
			"f:11: port.c.allowed_macs: bad guard setting: the port's own address 52:54:00:00:00:01 is not among the allowed addresses"},
		{"link-local addresses of nothing", "[port.c]\nallowed_link_local = \"eui64\"\n", "f:10: port.c.allowed_link_local: bad rule for link-local addresses: it needs allowed MAC and IP addresses"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, errs := l.examine(before + tt.text); errs.Error() != tt.want {
				t.Errorf("the check finds\n%s\nwant\n%s", errs, tt.want)
			}
			was := l.everything()
			cfg, wrong := Kinds().Load(filepath.Join(l.dir, "vswitchd.toml"), config.Flags{})
			if err := wrong.Err(); err == nil { // what the switch finds
				if changed, err := l.d.Reload(cfg); err == nil {
					t.Errorf("a reload changes %v", changed)
				}
			}
			if now := l.everything(); now != was {
				t.Errorf("was\n%s\nis\n%s", was, now)
			}
		})
	}
}

// A configuration starts if and only if it passes the check.
func TestWhatPassesTheCheckStarts(t *testing.T) {
	l := newLab(t, "")
	l.addVeth("nic0", "far0")
	l.must(os.WriteFile(l.dir+"/file", nil, 0o600))
	l.must(os.Mkdir(l.dir+"/sub", 0o700))
	l.must(os.Symlink(l.dir+"/sub", l.dir+"/link"))
	passed, refused := 0, 0
	for seed := range uint64(600) {
		text := randomConfig(rand.New(rand.NewPCG(seed, 9)))
		cfg, errs := l.examine(text)
		if cfg == nil {
			t.Fatalf("seed %d: %v\n%s", seed, errs, text)
		}
		var d *Daemon
		cfg, wrong := Kinds().Load(filepath.Join(l.dir, "vswitchd.toml"), config.Flags{})
		err := wrong.Err()
		if err == nil {
			if d, err = New(cfg, l.d.log); err == nil {
				d.close()
			}
		}
		switch {
		case len(errs) == 0 && err != nil:
			t.Errorf("seed %d passes, and does not start: %v\n%s", seed, err, text)
		case len(errs) > 0 && err == nil:
			t.Errorf("seed %d does not pass, and starts: %v\n%s", seed, errs, text)
		case err == nil:
			passed++
		default:
			refused++
		}
	}
	t.Logf("%d start, %d do not", passed, refused)
	if passed < 50 || refused < 50 {
		t.Errorf("%d start, %d do not: too few for a meaningful test", passed, refused)
	}
}

// randomConfig makes a random configuration, which may be valid, or invalid for any of several
// reasons.
func randomConfig(r *rand.Rand) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	sometimes := func(n int, format string, choices ...any) {
		if r.IntN(n) == 0 {
			line(format, choices[r.IntN(len(choices))])
		}
	}
	tags := []any{0, 1, 2, 10, 4094, 4095}
	sometimes(3, "mac_table_size = %v", 10, 12, 100)
	sometimes(20, "cpus = [%v]", 0, 0, 900)
	bridging := func() {
		if r.IntN(8) == 0 {
			line("vlan_mode = %q", "dot1q-tunnel")
			line("tag = %v", tags[1+r.IntN(4)])
			sometimes(2, "cvlans = %v", "[]", "[0]", `[1, "10-20"]`, `["0-4095"]`)
			sometimes(2, "qinq_ethtype = %q", "802.1ad", "802.1q")
			sometimes(20, "trunks = %v", "[]", "[1]")
		} else {
			sometimes(3, "tag = %v", tags[:5]...)
			sometimes(40, "tag = %v # reserved", 4095)
			sometimes(3, "trunks = %v", "[]", "[1]", "[1, 10]", "[0, 10, 4095]", `["1-11"]`)
			sometimes(3, "vlan_mode = %q", "access", "trunk", "native-tagged", "native-untagged")
			sometimes(40, "cvlans = %v", "[]", "[7]")
			sometimes(40, "qinq_ethtype = %q", "802.1ad", "802.1q")
		}
		sometimes(9, "priority = %v", 0, 7)
		sometimes(20, "priority_override = %v", true, false)
		sometimes(9, "priority_tags = %q", "keep", "no", "if-nonzero", "always")
		sometimes(5, "max_macs = %v", 0, 1, 1<<20)
		sometimes(5, "isolated = %v", true)
		sometimes(20, "community = %q", "blue", "red", "no name")
		sometimes(9, "allowed_macs = %v", "[]", `["52:54:00:00:00:01"]`, `["52:54:00:00:00:02", "52:54:00:00:00:03"]`)
		sometimes(9, "ingress_filter = %q", "", "f", "g")
		sometimes(5, "ingress_policing_rate = %q", "0", "1K", "10G")
		sometimes(10, "ingress_policing_burst = %q", "0", "1MiB")
		sometimes(5, "egress_rate = %q", "0", "1K", "10G")
		sometimes(10, "egress_burst = %q", "0", "1MiB")
		sometimes(5, "storm_control_pps = %v", 0, 1, 1000000000)
	}
	names := []string{"a", "b", "c", "d"}[:1+r.IntN(4)]
	for _, name := range names {
		line("[port.%s]", name)
		sometimes(2, "mac = \"52:54:00:00:00:0%v\"", 1, 2, 3, 4, 5, 6)
		sometimes(8, "socket = \"$%v\"", "s1", "s2", "sub/s", "link/s", "sub/../s1", "nowhere/s", "file", "file/s", "sub")
		sometimes(8, "queues = %v", 1, 2, 128)
		sometimes(8, "mtu = %v", 0, 68, 65535)
		sometimes(8, "mode = %q", "server", "client")
		bridging()
	}
	if r.IntN(4) == 0 {
		line("[uplink.lan]")
		line("interface = %q", []string{"nic0", "nic0", "none", "lo"}[r.IntN(4)])
		bridging()
	}
	if r.IntN(4) == 0 {
		line("[mirror.m]")
		sometimes(2, "select_src = [%q]", "a", "b", "lan")
		sometimes(2, "select_all = true # %v", 1)
		line("output = %q", []string{"a", "b", "c"}[r.IntN(3)])
		sometimes(9, "output_vlan = %v", 5)
		sometimes(4, "filter = %q", "f", "g")
	}
	if r.IntN(3) != 0 {
		line("[set.s]")
		sometimes(2, "addresses = %v", "[]", `["10.0.0.0/8"]`, `["10.0.0.0/8", "10.0.0.1"]`)
		line("[filter.f]\ndefault = \"drop\"\n[[filter.f.rules]]\nname = \"a\"\naction = \"drop\"")
		sometimes(3, "src = %q", "@s", "fd00::/8", "@t")
		sometimes(3, "proto = %q", "tcp", "icmp")
		sometimes(3, "dst_ports = %v", 80)
	}
	for range r.IntN(2) {
		line("[[mdb]]")
		line("group = %q", []string{"239.1.1.1", "239.1.1.2"}[r.IntN(2)])
		line("port = %q", names[r.IntN(len(names))])
		sometimes(6, "source = %q", "10.0.0.1", "10.0.0.2", "2001:db8::1")
	}
	for range r.IntN(4) {
		line("[[fdb]]")
		line("mac = \"52:54:00:00:00:0%d\"", 1+r.IntN(8))
		if r.IntN(5) == 0 {
			line("blackhole = true")
		} else {
			line("port = %q", names[r.IntN(len(names))])
			sometimes(5, "sticky = %v", true, false)
		}
		sometimes(2, "vlan = %v", tags...)
	}
	return b.String()
}
