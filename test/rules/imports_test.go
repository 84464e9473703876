package rules_test

import (
	"slices"
	"strings"
	"testing"
)

// A layer is a group of packages of one kind, with the imports of each from this module, except
// those of tests.
type layer struct {
	name     string
	packages []row
}

type row struct {
	folder  string
	imports string // separated by spaces
}

// layers is the table of all permitted imports between packages of this module, the lowest layer
// first. A package imports only packages above it in the table, so that imports run downwards, and
// a reader who follows this order has read every dependency of a package before the package itself.
//
// The packages of the lowest layer have no code, and leaves import only these. The libraries import
// leaves and each other, so that devices other than this switch can be built on them.
// docs/architecture.md describes the purpose of each package.
var layers = []layer{
	{"platform", []row{
		{"internal/platform/linux", ""},
		{"internal/platform/littleendian", ""},
	}},
	{"leaves", []row{
		{"internal/cgroup", "internal/platform/linux"},
		{"internal/connlimit", ""},
		{"internal/handover", ""},
		{"internal/loglimit", ""},
		{"internal/mmsg", "internal/platform/linux"},
		{"internal/nearest", ""},
		{"internal/ranges", ""},
		{"internal/unixsock", "internal/platform/linux"},
		{"internal/version", ""},
		{"internal/worker", "internal/platform/linux"},
	}},
	{"libraries", []row{
		{"switch", ""},
		{"virtqueue", "internal/platform/linux internal/platform/littleendian"},
		{"vhostuser", "internal/unixsock virtqueue"},
		{"vhostuser/loop", "vhostuser virtqueue"},
	}},
	{"ports", []row{
		{"uplink", "internal/mmsg internal/worker switch"},
		{"vhostuser/netport", "internal/worker switch vhostuser vhostuser/loop virtqueue"},
	}},
	{"service", []row{
		{"internal/rundir", "internal/nearest internal/platform/linux"},
		{"internal/sandbox", "internal/platform/linux"},
		{"internal/usage", "internal/nearest"},
		{"internal/layout", "internal/nearest"},
		{"internal/tomlpos", ""},
		{"internal/tomldoc", "internal/nearest internal/tomlpos"},
		{"internal/config/key", "internal/nearest internal/ranges"},
		{"internal/config", "internal/config/key internal/nearest internal/tomldoc internal/tomlpos switch"},
		{"internal/httpserve", "internal/connlimit"},
		{"internal/capture", "switch"},
		{"internal/control", "internal/httpserve internal/nearest internal/rundir internal/tomldoc internal/unixsock internal/usage"},
		{"internal/events", "internal/control"},
		{"internal/rates", "internal/control"},
		{"internal/top", "internal/control internal/layout internal/nearest internal/rates"},
		{"internal/metrics", "internal/control internal/httpserve"},
		{"internal/status", "internal/httpserve"},
		{"internal/port", "internal/config internal/control internal/handover internal/loglimit internal/worker switch"},
		{"internal/port/guest", "internal/config internal/config/key internal/control internal/handover internal/port internal/rundir internal/unixsock internal/worker " +
			"switch vhostuser vhostuser/loop vhostuser/netport virtqueue"},
		{"internal/port/packetport", "internal/control internal/handover internal/port internal/worker switch uplink"},
		{"internal/port/hostport", "internal/config internal/config/key internal/control internal/handover internal/port internal/port/packetport switch uplink"},
		{"internal/port/uplinkport", "internal/config internal/config/key internal/control internal/handover internal/port internal/port/packetport switch uplink"},
		{"internal/doctor", "internal/control"},
		{"internal/daemon", "internal/capture internal/cgroup internal/config internal/config/key internal/control internal/events internal/handover internal/nearest internal/port internal/port/guest internal/port/hostport " +
			"internal/port/uplinkport internal/rundir internal/sandbox internal/tomldoc internal/version internal/worker switch"},
	}},
	{"programs", []row{
		{"cmd/vswitchctl", "internal/control internal/doctor internal/layout internal/nearest internal/ranges internal/rates internal/tomldoc internal/top internal/usage internal/version"},
		{"cmd/vswitchd", "internal/config internal/config/key internal/control internal/daemon internal/handover internal/metrics internal/status internal/unixsock internal/usage internal/version"},
		{"examples/rng", "vhostuser vhostuser/loop"},
	}},
	{"tests and measurement", []row{
		{"internal/control/controltest", "internal/control internal/events internal/tomldoc"},
		{"switch/vswitchtest", "switch"},
		{"virtqueue/virtqueuetest", "virtqueue"},
		{"vhostuser/vhostusertest", "vhostuser virtqueue virtqueue/virtqueuetest"},
		{"vhostuser/sessionfuzz", "vhostuser vhostuser/vhostusertest virtqueue/virtqueuetest"},
		{"test/bpf", "internal/platform/linux"},
		{"test/child", "internal/platform/linux"},
		{"test/logbuf", ""},
		{"test/guest", ""},
		{"test/guest/agent", "internal/platform/linux test/guest"},
		{"test/guest/flow", "internal/platform/linux"},
		{"test/guest/inject", "internal/platform/linux"},
		{"test/guest/umlexec", "internal/platform/linux"},
		{"test/guest/xdppass", "test/bpf"},
		{"test/rules", ""},
		{"test/vm", "test/child test/guest"},
		{"test/guest/guestctl", "test/vm"},
		{"test/swtest", "internal/control internal/doctor test/bpf test/child test/vm"},
		{"test/walkthrough", "test/child test/vm"},
		{"test/station", "vhostuser vhostuser/vhostusertest virtqueue virtqueue/virtqueuetest"},
		{"test/e2e", ""},
		{"test/packaging", ""},
		{"bench/load", "internal/mmsg vhostuser vhostuser/vhostusertest virtqueue virtqueue/virtqueuetest"},
		{"bench/peer", "bench/load internal/control test/child test/logbuf vhostuser/vhostusertest"},
		{"bench/progress", ""},
		{"bench/report", ""},
		{"bench/compare", "bench/load bench/peer bench/progress bench/report"},
		{"bench/generate", "bench/load bench/peer"},
		{"bench/guests", "bench/peer bench/progress bench/report test/child test/vm"},
		{"bench/soak", "bench/load bench/peer bench/progress"},
		{"bench/workers", "bench/load bench/peer bench/progress bench/report"},
		{"bench", "bench/compare bench/generate bench/guests bench/soak bench/workers"},
	}},
}

// The imports between packages are exactly those of the table. Tests may import any package,
// because no package depends on tests.
func TestImportsAreThoseOfTheTable(t *testing.T) {
	found := packages(t)
	listed := map[string]bool{}
	for _, l := range layers {
		for _, p := range l.packages {
			listed[p.folder] = true
			imports, ok := found[p.folder]
			if !ok {
				t.Errorf("%s is in the table, but does not exist", p.folder)
				continue
			}
			allowed := strings.Fields(p.imports)
			for _, to := range imports {
				if !slices.Contains(allowed, to) {
					t.Errorf("%s imports %s: not in the table of imports (test/rules/imports_test.go)", p.folder, to)
				}
			}
			for _, to := range allowed {
				if !slices.Contains(imports, to) {
					t.Errorf("%s does not import %s, which is in the table of imports (test/rules/imports_test.go)", p.folder, to)
				}
			}
		}
	}
	for folder := range found {
		if !listed[folder] {
			t.Errorf("%s has no row in the table of imports (test/rules/imports_test.go)", folder)
		}
	}
}

// The table permits only imports of packages above the importing package.
func TestImportsRunDownwards(t *testing.T) {
	above, platform := map[string]bool{}, map[string]bool{}
	for _, p := range layers[0].packages {
		platform[p.folder] = true
	}
	for _, l := range layers {
		for _, p := range l.packages {
			for _, to := range strings.Fields(p.imports) {
				if !above[to] {
					t.Errorf("%s imports %s, which is not above it in the table", p.folder, to)
				}
				if l.name == "leaves" && !platform[to] {
					t.Errorf("leaf %s imports %s", p.folder, to)
				}
			}
			if above[p.folder] {
				t.Errorf("%s has two rows", p.folder)
			}
			above[p.folder] = true
		}
	}
}
