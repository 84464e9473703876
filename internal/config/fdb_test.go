package config_test

import (
	"strings"
	"testing"
)

// A static entry without a VLAN is in the VLAN of its port's untagged frames. An entry that can
// never match causes a warning.
func TestStaticEntriesVLAN(t *testing.T) {
	const entry = "[[fdb]]\nmac = \"52:54:00:00:00:01\"\nport = \"a\"\n"
	for _, tt := range []struct {
		name, port, more string
		vlan             uint16
		warning          string
	}{
		{"plain", "", "", 0, ""},
		{"access", "tag = 10\n", "", 10, ""},
		{"native", "tag = 10\nvlan_mode = \"native-untagged\"\n", "", 10, ""},
		{"trunk", "trunks = [5]\n", "", 0,
			"f:4: fdb[0].vlan: the entry never matches: a is not in VLAN 0, the default for entries without a VLAN"},
		{"trunk of 0", "trunks = [0, 5]\n", "", 0, ""},
		{"named, plain", "", "vlan = 7\n", 7, ""},
		{"named 0", "", "vlan = 0\n", 0, ""},
		{"named, access", "tag = 10\n", "vlan = 10\n", 10, ""},
		{"named, another's", "tag = 10\n", "vlan = 11\n", 11,
			"f:6: fdb[0].vlan: the entry never matches: a is not in VLAN 11"},
		{"named 0, access", "tag = 10\n", "vlan = 0\n", 0, "f:6: fdb[0].vlan: the entry never matches: a is not in VLAN 0"},
		{"named, native and list", "tag = 10\nvlan_mode = \"native-tagged\"\ntrunks = [5]\n", "vlan = 10\n", 10, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, doc := range []string{
				"[port.a]\n" + tt.port + entry + tt.more,
				entry + tt.more + "[uplink.a]\ninterface = \"x\"\n" + tt.port,
			} {
				cfg, errs := kinds.Parse("f", []byte(doc))
				if len(errs) > 0 {
					t.Fatal(errs)
				}
				if got := cfg.FDB[0].VLAN; got != tt.vlan {
					t.Errorf("the entry is in VLAN %d, want %d", got, tt.vlan)
				}
				got := cfg.Warnings.Error()
				_, text, _ := strings.Cut(got, ": ")
				if _, want, _ := strings.Cut(tt.warning, ": "); text != want {
					t.Errorf("warnings %q, want %q", got, tt.warning)
				}
			}
		})
	}
}

// An address cannot be assigned twice in one VLAN.
func TestAddressesTwice(t *testing.T) {
	const m = "mac = \"52:54:00:00:00:01\"\n"
	for _, tt := range []struct{ name, a, b, err string }{
		{"all and all", "", "", "VLAN 0"},
		{"all and one", "", "tag = 10\n", "VLAN 10"},
		{"one and all", "tag = 10\n", "", "VLAN 10"},
		{"list and one", "trunks = [5, 10]\n", "tag = 10\n", "VLAN 10"},
		{"list and another", "trunks = [5, 10]\n", "tag = 11\n", ""},
		{"list and list", "trunks = [5, 10]\n", "trunks = [6, 10]\n", "VLAN 10"},
		{"native and its VLAN", "trunks = [5]\ntag = 7\nvlan_mode = \"native-tagged\"\n", "tag = 7\n", "VLAN 7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, errs := kinds.Parse("f", []byte("[port.a]\n"+tt.a+m+"[port.b]\n"+tt.b+m))
			if tt.err == "" && len(errs) > 0 || tt.err != "" && !strings.Contains(errs.Error(), "port.b.mac: 52:54:00:00:00:01 in "+tt.err) {
				t.Errorf("two ports: %v, want %q", errs, tt.err)
			}
		})
	}
	for _, tt := range []struct{ name, a, vlan, err string }{
		{"all", "", "vlan = 10\n", "VLAN 10"},
		{"all, the port's own", "", "", "VLAN 0"},
		{"access, the port's own", "tag = 10\n", "", "VLAN 10"},
		{"list", "trunks = [5, 10]\n", "vlan = 10\n", "VLAN 10"},
		{"list, another VLAN", "trunks = [5, 10]\n", "vlan = 11\n", ""},
	} {
		t.Run("static entry, "+tt.name, func(t *testing.T) {
			_, errs := kinds.Parse("f", []byte("[port.a]\n"+tt.a+m+"[port.b]\n[[fdb]]\nport = \"a\"\n"+tt.vlan+m))
			if tt.err == "" && len(errs) > 0 || tt.err != "" && !strings.Contains(errs.Error(), "fdb[0].mac: 52:54:00:00:00:01 in "+tt.err) {
				t.Errorf("%v, want %q", errs, tt.err)
			}
		})
	}
}

// Keys of entries that contradict each other are errors, with the line of one of them.
func TestContradictionsInEntries(t *testing.T) {
	const head = "[port.a]\nmac = \"52:54:00:00:00:02\"\n[[fdb]]\n"
	const m1, m2 = "mac = \"52:54:00:00:00:01\"\n", "mac = \"52:54:00:00:00:02\"\n"
	for _, tt := range []struct{ entry, err string }{
		{m1 + "port = \"a\"\nblackhole = true\n", "f:5: fdb[0].port: a blackhole has no port"},
		{m1 + "blackhole = true\nsticky = true\n", "f:6: fdb[0].sticky: a blackhole neither ages nor moves"},
		{m1, "f:3: fdb[0].port: is missing"},
		{m1 + "blackhole = false\n", "f:3: fdb[0].port: is missing"},
		{"blackhole = true\n", "f:3: fdb[0].mac: is missing"},
		{m2 + "blackhole = true\n", "f:4: fdb[0].mac: 52:54:00:00:00:02 in every VLAN is there already, in port.a"},
		{m2 + "blackhole = true\nvlan = 7\n", "f:4: fdb[0].mac: 52:54:00:00:00:02 in VLAN 7 is there already, in port.a"},
		{m1 + "blackhole = true\n[[fdb]]\nblackhole = true\n" + m1, "f:8: fdb[1].mac: 52:54:00:00:00:01 in every VLAN is there already, in fdb[0]"},
		{m1 + "blackhole = true\n[[fdb]]\nport = \"a\"\n" + m1, ""},
		{m1 + "blackhole = true\nvlan = 5\n", ""},
		{m1 + "sticky = true\nport = \"a\"\n", ""},
	} {
		_, errs := kinds.Parse("f", []byte(head+tt.entry))
		if got := errs.Error(); got != tt.err && (len(errs) > 0 || tt.err != "") {
			t.Errorf("%q: %s\nwant %s", tt.entry, got, tt.err)
		}
	}
}
