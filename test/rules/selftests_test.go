package rules_test

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

// kernelChecks are the checks (ALL_TESTS) of the kernel's tests of what vswitchd has as well, by
// their files in tools/testing/selftests/net/forwarding of Linux 6.12.
var kernelChecks = map[string]string{
	"no_forwarding":             "standalone two_bridges one_bridge_two_pvids",
	"bridge_vlan_unaware":       "ping_ipv4 ping_ipv6 learning flooding",
	"bridge_vlan_aware":         "ping_ipv4 ping_ipv6 learning flooding vlan_deletion extern_learn other_tpid",
	"bridge_port_isolation":     "ping_ipv4 ping_ipv6 flooding",
	"bridge_sticky_fdb":         "sticky",
	"bridge_fdb_learning_limit": "check_accounting check_limit",
	"bridge_locked_port": "locked_port_ipv4 locked_port_ipv6 locked_port_vlan locked_port_mab locked_port_mab_roam " +
		"locked_port_mab_config locked_port_mab_flush locked_port_mab_redirect",
	"bridge_igmp": "v2reportleave_test v3include_test v3inc_allow_test v3inc_is_include_test v3inc_is_exclude_test " +
		"v3inc_to_exclude_test v3exc_allow_test v3exc_is_include_test v3exc_is_exclude_test v3exc_to_exclude_test " +
		"v3inc_block_test v3exc_block_test v3exc_timeout_test v3star_ex_auto_add_test",
	"bridge_mld": "mldv2include_test mldv2inc_allow_test mldv2inc_is_include_test mldv2inc_is_exclude_test " +
		"mldv2inc_to_exclude_test mldv2exc_allow_test mldv2exc_is_include_test mldv2exc_is_exclude_test " +
		"mldv2exc_to_exclude_test mldv2inc_block_test mldv2exc_block_test mldv2exc_timeout_test mldv2star_ex_auto_add_test",
	"local_termination": "standalone vlan_unaware_bridge vlan_aware_bridge test_vlan vlan_over_vlan_unaware_bridged_port " +
		"vlan_over_vlan_aware_bridged_port vlan_over_vlan_unaware_bridge vlan_over_vlan_aware_bridge",
	"mirror_vlan": "test_vlan test_tagged_vlan",
	"tc_police": "police_rx_test police_tx_test police_shared_test police_rx_mirror_test police_tx_mirror_test " +
		"police_pps_rx_test police_pps_tx_test police_mtu_rx_test police_mtu_tx_test",
}

var (
	checkRow     = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (.*?) \\| ?(.*?) ?\\|$")
	testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// docs/linux-selftests.md names a test for each check of the kernel's tests, or says why none
// applies; each test is there, and a scenario has the name of the check in a comment.
func TestKernelsChecksHaveTests(t *testing.T) {
	functions := testFunctions(t)
	sections := strings.Split(read(t, "docs/linux-selftests.md"), "\n## ")[1:]
	if len(sections) != len(kernelChecks) {
		t.Errorf("docs/linux-selftests.md has %d sections, want %d", len(sections), len(kernelChecks))
	}
	for _, section := range sections {
		file, rows, _ := strings.Cut(section, "\n")
		var checks []string
		for _, row := range checkRow.FindAllStringSubmatch(rows, -1) {
			check, tests, note := row[1], quoted.FindAllStringSubmatch(row[2], -1), row[3]
			checks = append(checks, check)
			if row[2] == "does not apply" {
				if note == "" {
					t.Errorf("%s: %s: it is not said why it does not apply", file, check)
				}
				continue
			}
			if len(tests) == 0 {
				t.Errorf("%s: %s: no test", file, check)
			}
			for _, name := range tests {
				if problem := findTest(t, name[1], file, check, functions); problem != "" {
					t.Errorf("%s: %s: %s %s", file, check, name[1], problem)
				}
			}
			// A note may name tests, too.
			for _, name := range quoted.FindAllStringSubmatch(note, -1) {
				if strings.HasPrefix(name[1], "Test") && !functions[name[1]] {
					t.Errorf("%s: %s: there is no %s", file, check, name[1])
				}
			}
		}
		if got := strings.Join(checks, " "); got != kernelChecks[file] {
			t.Errorf("%s: the checks are %s, want %s", file, got, kernelChecks[file])
		}
	}
}

// testFunctions returns the names of all test functions.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	functions := make(map[string]bool)
	walk(t, func(name string) {
		if strings.HasSuffix(name, "_test.go") {
			for _, m := range testFunction.FindAllStringSubmatch(read(t, name), -1) {
				functions[m[1]] = true
			}
		}
	})
	return functions
}

// findTest says what is wrong with a test that is to play a check.
func findTest(t *testing.T, name, file, check string, functions map[string]bool) string {
	t.Helper()
	if path.Ext(name) != ".txt" {
		if !functions[name] {
			return "is not there"
		}
		return ""
	}
	// A file's name is in the comment itself or in one before it.
	seen := false
	for line := range strings.Lines(read(t, path.Join("switch/testdata/scenarios", name))) {
		comment, ok := strings.CutPrefix(line, "#")
		if !ok {
			continue
		}
		seen = seen || hasWord(comment, file)
		if seen && hasWord(comment, check) {
			return ""
		}
	}
	return "does not name it in a comment behind the name of its file"
}

// hasWord reports whether a text has a word.
func hasWord(text, word string) bool {
	return regexp.MustCompile(`\b` + word + `\b`).MatchString(text)
}
