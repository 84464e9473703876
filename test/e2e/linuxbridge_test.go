//go:build e2e && long

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vswitchd/test/vm"
)

// TestScenariosOnALinuxBridge has a Linux bridge play the scenarios of the switch. The bridge is
// one of User Mode Linux's kernel, since not every machine's kernel has bridges with VLANs; the
// guest reads the test program, and ip(8) and bridge(8), from this machine's files.
func TestScenariosOnALinuxBridge(t *testing.T) {
	ctx := testContext(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "switch.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "e2e,linuxbridge", "-o", program, "./switch")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the test: %v\n%s", err, out)
	}
	modules, err := filepath.Glob(root + "/build/lab/tree/linux.uml/usr/lib/uml/modules/*/kernel")
	if err != nil || len(modules) != 1 {
		t.Fatalf("User Mode Linux's modules: %v, %v", modules, err)
	}

	guest := vm.StartAll(t, vm.Config{Name: "bridge", QEMU: vm.UML, NoNIC: true})[0]
	guest.MustRun(t, "mkdir -p /host && mount -t hostfs none /host && mount -t proc proc /host/proc && mount -t sysfs sysfs /host/sys")
	for _, m := range []string{"net/bridge/bridge.ko", "drivers/net/veth.ko"} {
		guest.MustRun(t, "insmod /host"+filepath.Join(modules[0], m))
	}
	r, err := guest.Run(ctx, fmt.Sprintf("cd /host/%s/switch && chroot /host sh -c 'cd %s/switch && %s -test.v -test.run LinuxBridge'", root, root, program))
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != 0 || !strings.Contains(r.Stdout, "--- PASS: TestScenariosOnALinuxBridge") {
		t.Errorf("exit %d %s\n%s%s", r.Exit, r.Error, r.Stdout, r.Stderr)
	}
}
