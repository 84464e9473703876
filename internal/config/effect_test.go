package config_test

import (
	"strings"
	"testing"
)

// What can have no effect is told, with the line of a key, and is no error.
func TestSettingsWithoutEffect(t *testing.T) {
	const (
		ports  = "[port.a]\n[port.b]\n"
		mirror = "[mirror.m]\nselect_src = [\"a\"]\noutput = \"b\"\n"
		rule   = "[[filter.f.rules]]\n"
		filter = "[filter.f]\ndefault = \"drop\"\n" + rule
		mac1   = "mac = \"52:54:00:00:00:01\"\n"
	)
	for _, tt := range []struct{ name, text, want string }{
		{"a router port without snooping", "[port.a]\nmcast_router = \"always\"\n",
			"f:2: port.a.mcast_router: has no effect without switch.mcast_snooping"},
		{"with snooping", "[switch]\nmcast_snooping = true\n[port.a]\nmcast_router = \"always\"\nmcast_fast_leave = true\n", ""},
		{"fast leave without snooping", "[port.a]\nmcast_fast_leave = true\n",
			"f:2: port.a.mcast_fast_leave: has no effect without switch.mcast_snooping"},
		{"unregistered groups without snooping", "[switch]\nmcast_unregistered = \"flood\"\n",
			"f:2: switch.mcast_unregistered: has no effect without mcast_snooping"},
		{"a querier's address without a querier", "[switch]\nmcast_snooping = true\nmcast_querier_ipv4 = \"10.0.0.1\"\nmcast_mld_version = 1\n",
			"f:3: switch.mcast_querier_ipv4: has no effect without mcast_querier\nf:4: switch.mcast_mld_version: has no effect without mcast_querier"},
		{"a querier for nobody", "[switch]\nmcast_snooping = true\nmcast_querier = true\nmcast_querier_vlans = [5, 7]\n[port.a]\ntag = 5\n",
			"f:4: switch.mcast_querier_vlans: no port is in VLAN 7"},
		{"a limit of addresses without learning", "[port.a]\nlearning = false\nmax_macs = 3\n",
			"f:3: port.a.max_macs: has no effect without learning"},
		{"storm control above policing", "[port.a]\ningress_policing_pps = 100\nstorm_control_pps = 101\nstorm_control_bcast_pps = 100\n",
			"f:3: port.a.storm_control_pps: is never reached: ingress_policing_pps is 100"},
		{"storm control of a class above that of all", "[port.a]\nstorm_control_pps = 100\nstorm_control_mcast_pps = 101\nstorm_control_unknown_pps = 99\n",
			"f:3: port.a.storm_control_mcast_pps: is never reached: storm_control_pps is 100"},
		{"BPDUs that pass and do not", "[port.a]\nbpdu_guard = true\ngroup_fwd_mask = 0x101\n",
			"f:3: port.a.group_fwd_mask: bpdu_guard drops BPDUs all the same"},
		{"other reserved addresses", "[port.a]\nbpdu_guard = true\ngroup_fwd_mask = 0x4\n", ""},
		{"a static entry that may not send", ports + "[port.c]\nallowed_macs = [\"52:54:00:00:00:02\"]\n[[fdb]]\n" + mac1 + "port = \"c\"\n",
			"f:6: fdb[0].mac: the station cannot send: 52:54:00:00:00:01 is not in allowed_macs of c"},
		{"entries at the output of a mirror", "[switch]\nmcast_snooping = true\n" + ports + mirror + "[[fdb]]\n" + mac1 + "port = \"b\"\n[[mdb]]\ngroup = \"239.1.1.1\"\nport = \"b\"\n",
			"f:10: fdb[0].port: b is the output of mirror m, and is sent nothing else\nf:13: mdb[0].port: b is the output of mirror m, and is sent nothing else"},
		{"a mirror of all ports and of one", ports + "[mirror.m]\nselect_all = true\nselect_dst = [\"a\"]\noutput = \"b\"\n",
			"f:5: mirror.m.select_dst: has no effect with select_all"},
		{"a mirror to a VLAN of nobody", "[port.a]\ntag = 3\n[mirror.m]\nselect_src = [\"a\"]\noutput_vlan = 9\n",
			"f:5: mirror.m.output_vlan: no port is in VLAN 9"},
		{"a neighbor with a guest's address", "[port.a]\nneigh_suppress = true\nmac = \"52:54:00:00:00:02\"\nallowed_ips = [\"10.0.0.1\", \"10.0.1.0/24\"]\n" +
			"[[neigh]]\nip = \"10.0.0.1\"\n" + mac1 + "[[neigh]]\nip = \"10.0.1.1\"\n" + mac1,
			"f:7: neigh[0].mac: 10.0.0.1 is an allowed address of port.a, which has address 52:54:00:00:00:02"},
		{"a rule behind one that matches more", filter + "name = \"a\"\naction = \"accept\"\nsrc = \"10.0.0.0/8\"\n" + rule + "name = \"b\"\naction = \"accept\"\nsrc = \"10.1.0.0/16\"\n",
			"f:8: filter.f.rules[1].name: rule b never matches: rule a, before it, matches all that it does"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, errs := kinds.Parse("f", []byte(tt.text))
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if got := strings.TrimSpace(cfg.Warnings.Error()); got != tt.want {
				t.Errorf("warnings\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}
