package main

import (
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vswitchd/internal/daemon"
)

var update = flag.Bool("update", false, "regenerate what is generated from the keys and flags")

// docs/configuration.md, the sample, the keys that vswitchctl knows and the manual pages are the
// ones generated from the declarations of the keys and flags.
func TestReferenceIsUpToDate(t *testing.T) {
	for file, want := range map[string]string{
		"../../docs/configuration.md":       daemon.Kinds().Reference(),
		"../../qemu-examples/vswitchd.toml": daemon.Kinds().Sample(),
		"../vswitchctl/keys.json":           daemon.Kinds().KeyList(),
		"../../docs/man/vswitchd.8":         manual(),
		"../../docs/man/vswitchd.toml.5":    fileManual(daemon.Kinds().Reference()),
	} {
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s differs from the declarations; regenerate it with go test ./cmd/vswitchd -run Reference -update\n%s", file, diff)
		}
	}
}

// The sample is valid both as it is and with its keys uncommented, and its values are the defaults.
func TestReferenceSampleIsTheDefaults(t *testing.T) {
	sample := daemon.Kinds().Sample()
	if _, errs := daemon.Kinds().Parse("sample", []byte(sample)); len(errs) > 0 {
		t.Error(errs)
	}
	all := regexp.MustCompile(`(?m)^#([^ ])`).ReplaceAllString(sample, "$1")
	cfg, errs := daemon.Kinds().Parse("sample", []byte(all))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	plain, errs := daemon.Kinds().Parse("plain", []byte("[port.vm1]\n[uplink.lan]\ninterface = \"eth1\"\n[host.br0]\n"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if len(cfg.Ports) != len(daemon.Kinds()) || len(cfg.FDB) != 1 {
		t.Errorf("%d ports, %d static entries", len(cfg.Ports), len(cfg.FDB))
	}
	for i, p := range cfg.Ports {
		for _, k := range p.Differing(plain.Ports[i]) {
			t.Errorf("%s of %s is not the default", k.Name, p.Name)
		}
	}
	for _, s := range cfg.NeedRestart(plain) {
		t.Errorf("%s is not the default", s)
	}
}
