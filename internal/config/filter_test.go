package config_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// Rules can be written in an array of inline tables or as tables, and a list of one element as that
// element.
func TestFilters(t *testing.T) {
	cfg, errs := kinds.Parse("f", []byte(`
[filter.web]
default = "drop"
rules = [
  { name = "web", action = "accept", proto = "tcp", dst_ports = [80, 443, "8000-8080", "@more"] },
  { name = "back", action = "accept", established = true },
  { name = "l2", action = "count", src_mac = "52:54:00:00:00:00/24", dst_mac = ["01:00:00:00:00:00/01:00:00:00:00:00"], vlan = [5, "7-9"], pcp = 3, ethertype = ["arp", 0x88cc, "0x0800", "llc"] },
]

[filter.l3]
default = "accept"
[[filter.l3.rules]]
name = "all"
action = "drop"
src = ["10.0.0.0/8", "@admins", "fd00::1"]
dst = "10.0.0.1"
proto = ["udp", 132, "tcp"]
src_ports = "1000-2000"
fragment = false
[[filter.l3.rules]]
name = "ping"
action = "drop"
icmp_type = ["echo-request", "3/4", 11]
icmpv6_type = "nd-neighbor-solicit/0"
[[filter.l3.rules]]
name = "syn"
action = "drop"
tcp_flags = ["syn", "!ack"]
fragment = true

[set.admins]
addresses = ["10.0.0.0/24", "fd00::/64", "10.1.0.1"]
[set.more]
ports = [22, "90-99"]
`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	mask := func(s string) []vswitch.MACMask {
		m, err := vswitch.ParseMACMask(s)
		if err != nil {
			t.Fatal(err)
		}
		return []vswitch.MACMask{m}
	}
	prefix := netip.MustParsePrefix
	want := []vswitch.FilterConfig{
		{Name: "web", Default: "drop", Rules: []vswitch.FilterRule{
			{Name: "web", Action: "accept", Protos: []uint8{6}, DstPorts: vswitch.PortMatch{
				Ranges: []vswitch.Range{{First: 80, Last: 80}, {First: 443, Last: 443}, {First: 8000, Last: 8080}}, Sets: []string{"more"},
			}},
			{Name: "back", Action: "accept", Established: true},
			{
				Name: "l2", Action: "count", SrcMACs: mask("52:54:00:00:00:00/24"), DstMACs: mask("01:00:00:00:00:00/01:00:00:00:00:00"),
				VLANs: []vswitch.Range{{First: 5, Last: 5}, {First: 7, Last: 9}}, PCPs: []vswitch.Range{{First: 3, Last: 3}},
				EtherTypes: []uint16{0x0806, 0x88cc, 0x0800, vswitch.EtherTypeLLC},
			},
		}},
		{Name: "l3", Default: "accept", Rules: []vswitch.FilterRule{
			{
				Name: "all", Action: "drop",
				Src:      vswitch.AddressMatch{Prefixes: []netip.Prefix{prefix("10.0.0.0/8"), prefix("fd00::1/128")}, Sets: []string{"admins"}},
				Dst:      vswitch.AddressMatch{Prefixes: []netip.Prefix{prefix("10.0.0.1/32")}},
				Protos:   []uint8{17, 132, 6},
				SrcPorts: vswitch.PortMatch{Ranges: []vswitch.Range{{First: 1000, Last: 2000}}},
				Fragment: vswitch.FragmentNo,
			},
			{
				Name: "ping", Action: "drop", ICMPTypes: []vswitch.ICMPType{{Type: 8, Code: vswitch.AnyCode}, {Type: 3, Code: 4}, {Type: 11, Code: vswitch.AnyCode}},
				ICMPv6Types: []vswitch.ICMPType{{Type: 135}},
			},
			{Name: "syn", Action: "drop", TCPFlags: vswitch.FlagMatch{Set: 2, Clear: 16}, Fragment: vswitch.FragmentYes},
		}},
	}
	var got []vswitch.FilterConfig
	for _, f := range cfg.Filters {
		got = append(got, f.FilterConfig)
	}
	equal := cmp.Options{cmpopts.EquateComparable(netip.Prefix{})}
	if d := cmp.Diff(want, got, equal); d != "" {
		t.Errorf("filters (-want +got):\n%s", d)
	}
	sets := []vswitch.SetConfig{
		{Name: "admins", Addresses: []netip.Prefix{prefix("10.0.0.0/24"), prefix("fd00::/64"), prefix("10.1.0.1/32")}},
		{Name: "more", Ports: []vswitch.Range{{First: 22, Last: 22}, {First: 90, Last: 99}}},
	}
	for i, s := range cfg.Sets {
		if d := cmp.Diff(sets[i], s.SetConfig, equal); d != "" {
			t.Errorf("sets (-want +got):\n%s", d)
		}
	}
	for _, f := range cfg.Filters {
		for i := range f.Rules {
			takesWhatItShows(t, &f.Rules[i])
		}
	}
}

// takesWhatItShows sets every key of a rule to its value in TOML's notation.
func takesWhatItShows(t *testing.T, r *vswitch.FilterRule) {
	t.Helper()
	again := new(vswitch.FilterRule)
	for i, k := range config.RuleKeys(r) {
		var doc map[string]any
		text := key.TOML(k.Get())
		if _, err := toml.Decode("v = "+text, &doc); err != nil {
			t.Errorf("%s: %s is not valid TOML: %v", k.Name, text, err)
			continue
		}
		if err := config.RuleKeys(again)[i].Set(doc["v"]); err != nil {
			t.Errorf("%s = %s: %v", k.Name, text, err)
		}
	}
	if d := cmp.Diff(r, again, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("rule %s (-was +is):\n%s", r.Name, d)
	}
}

// Each value that is wrong is reported with its line and key.
func TestFilterErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"[filter.web]\n", `f:1: filter.web.default: is missing`},
		{"[filter.\"a/b\"]\ndefault = \"drop\"\n", `f:1: filter."a/b": the name "a/b" must consist of letters, digits and . _ -`},
		{"[set.\"\"]\n", `f:1: set."": the name is empty`},
		{"[mirror.\"\"]\nselect_all = true\noutput_vlan = 5\n", `f:1: mirror."": the name is empty`},
		{"[filter.web]\ndefault = \"count\"\nrules = 5\n", "f:2: filter.web.default: is \"count\", must be one of \"accept\", \"drop\"\nf:3: filter.web.rules: is an integer, must be tables [[rules]]"},
		{"[filter.web]\ndefault = \"drop\"\nrules = [\n{ name = \"a\" },\n{ nmae = \"b\", action = \"drop\" },\n]\n",
			"f:4: filter.web.rules[0].action: is missing\nf:5: filter.web.rules[1].nmae: unknown key; did you mean \"name\"?\nf:5: filter.web.rules[1].name: is missing"},
		{rule(`proto = "tpc"`), `must be a number up to 255 or one of`},
		{rule(`proto = "tpc"`), `; did you mean "tcp"?`},
		{rule(`proto = 256`), `f:5: filter.f.rules[0].proto: is "256", must be`},
		{rule(`proto = 1.5`), `is a float, must be a string or an integer`},
		{rule(`dst_ports = [80, 65536]`), `element 1 is wrong: "65536" is not a number up to 65535 or a range such as 1-65535`},
		{rule(`dst_ports = "9-8"`), `dst_ports: is wrong: "9-8" is not`},
		{rule(`dst_ports = "@"`), `is "@", must be the name of a set such as "@admins"`},
		{rule(`src = ["10.0.0.1/8"]`), `element 0 is "10.0.0.1/8", must be 10.0.0.0/8 or 10.0.0.1`},
		{rule(`src = 5`), `src: is an integer, must be a string`},
		{rule(`src_mac = "52:54:00:00:00:01/24"`), `"52:54:00:00:00:01/24" has bits that are not in its mask`},
		{rule(`ethertype = "apr"`), `must be a number up to 65535 or one of`},
		{rule(`icmp_type = "echo-request/300"`), `is not a type such as 8, or a type and a code such as 3/4`},
		{rule(`tcp_flags = ["syn", "nak"]`), `"nak" is not one of fin, syn, rst, psh, ack, urg, ece, cwr, optionally with ! before it`},
		{rule(`fragment = 1`), `is an integer, must be true, false or "any"`},
		{rule(`vlan = 4096`), `"4096" is not a number up to 4095`},
		{"[set.s]\naddresses = [\"10.0.0.1\", \"x\"]\n", `f:2: set.s.addresses: element 1 is "x", must be an IP address or a prefix such as 10.0.0.0/24`},
	} {
		_, errs := kinds.Parse("f", []byte(tt.text))
		if got := errs.Error(); !strings.Contains(got, tt.want) {
			t.Errorf("%s:\ngot\n%s\nwant\n%s", tt.text, got, tt.want)
		}
	}
}

// rule is a file with a rule that has a key, in line 5.
func rule(setting string) string {
	return fmt.Sprintf("[filter.f]\ndefault = \"drop\"\n[[filter.f.rules]]\nname = \"a\"\n%s\naction = \"drop\"\n", setting)
}
