//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vswitchd/test/vm"
)

// A device that is not a network card, made with the libraries as examples/rng is, serves a guest's
// driver.
func TestRNG(t *testing.T) {
	ctx := testContext(t)
	dir := t.TempDir()
	program, socket := filepath.Join(dir, "rng"), filepath.Join(dir, "rng.sock")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "vswitchd/examples/rng").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(program, socket)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log("rng said:", said.String())
		}
	})
	waitForSocket(t, socket)

	g := vm.Start(t, vm.Config{Name: "rng", NoNIC: true, ExtraArgs: []string{
		"-chardev", "socket,id=rng,path=" + socket,
		"-device", "vhost-user-rng-pci,chardev=rng",
	}})
	if out := g.MustRun(t, "cat /sys/class/misc/hw_random/rng_current"); !strings.Contains(out, "virtio_rng") {
		t.Fatalf("the guest's source of random numbers is %q", out)
	}
	// Random bytes do not get shorter when they are compressed, and do not come twice.
	const read = "dd if=/dev/hwrng of=/tmp/r bs=1000 count=20 iflag=fullblock 2>/dev/null; gzip -c /tmp/r | wc -c; md5sum </tmp/r"
	sums := map[string]bool{}
	for range 2 {
		out := g.MustRun(t, read)
		var size int
		var sum string
		if _, err := fmt.Sscan(out, &size, &sum); err != nil || size < 20000 || sums[sum] {
			t.Fatalf("20000 bytes from the device: %q, seen before: %v", out, sums)
		}
		sums[sum] = true
	}
}

func waitForSocket(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if matches, _ := filepath.Glob(path); len(matches) > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("no socket at " + path)
		}
	}
}
