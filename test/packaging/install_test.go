//go:build e2e

package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The configuration that is installed is the sample, with sockets that QEMU can use. An existing
// configuration is kept. The sample's own tests are in cmd/vswitchd.
func TestInstalledConfigurationIsTheSample(t *testing.T) {
	sample, err := os.ReadFile("../../qemu-examples/vswitchd.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	install := func() string {
		t.Helper()
		if out, err := exec.Command("../../packaging/install", dir, "/usr").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return filepath.Join(dir, "etc/vswitchd/vswitchd.toml")
	}
	file := install()
	installed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	header, socketGroup := "\n[switch]\n", "\nsocket_group = \"kvm\" "
	if strings.Count(string(installed), header) != 1 || strings.Count(string(installed), socketGroup) != 1 {
		t.Errorf("the installed configuration does not set the group of sockets:\n%s", installed)
	}
	commented := strings.NewReplacer(header, "\n#[switch]\n", socketGroup, "\n#socket_group = \"\" ").Replace(string(installed))
	if commented != string(sample) {
		t.Error("apart from the group of sockets, the installed configuration is not the sample")
	}

	const changed = "[port.vm1]\n"
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(install()); err != nil || string(now) != changed {
		t.Errorf("another installation has changed the configuration: %v, %s", err, now)
	}
}
