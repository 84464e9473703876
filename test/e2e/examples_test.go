//go:build e2e && long

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vswitchd/test/vm"
	"vswitchd/test/walkthrough"
)

// startExample prepares to follow a section of qemu-examples/README.md to the letter, on a copy of
// the folder. The test guest takes the place of the reader's disks. Everything happens in new
// network, process and mount namespaces, and ends with the test.
func startExample(t *testing.T, heading string) *walkthrough.Walk {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.BuildImage(); err != nil {
		t.Fatal(err)
	}
	accel, err := vm.Accel(ctx)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "qemu-examples")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "qemu-examples"))); err != nil {
		t.Fatal(err)
	}
	blocks, err := walkthrough.Blocks(filepath.Join(folder, "README.md"), heading)
	if err != nil {
		t.Fatal(err)
	}
	build, agents := filepath.Join(root, "build"), shortDir(t)
	shell, err := walkthrough.Start(func(program string, args ...string) *exec.Cmd {
		const inside = `mount -t tmpfs run /run && ip link set lo up && exec "$@"`
		unshare := []string{"--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", inside, "sh", program}
		cmd := exec.Command("unshare", append(unshare, args...)...)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(),
			"PATH="+build+":"+build+"/lab/tree/prometheus/usr/bin:"+os.Getenv("PATH")+":/usr/sbin:/sbin",
			"QEMU="+root+"/test/guest/qemu", "ACCEL="+accel,
			"GUEST_QEMU="+build+"/lab/qemu-10", "GUEST_IMAGE="+build+"/guest",
			"GUEST_PARAMS="+vm.Config{}.KernelParams(), "GUEST_AGENTS="+agents)
		return cmd
	})
	if err != nil {
		t.Fatal(err)
	}
	return walkthrough.NewWalk(ctx, t, shell, agents, blocks)
}

// printed wants the shell of a walk to have printed lines that match.
func printed(t *testing.T, w *walkthrough.Walk, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		if !regexp.MustCompile(pattern).MatchString(w.Shell.Output()) {
			t.Errorf("nothing was printed that matches %s", pattern)
		}
	}
}

func TestExampleTenants(t *testing.T) {
	w := startExample(t, "Two tenants with the same addresses")
	w.FollowAll()
	printed(t, w, `52:54:00:00:00:01 +10 +red `, `52:54:00:00:00:01 +20 +blue `)
}

func TestExampleMigration(t *testing.T) {
	w := startExample(t, "A guest moves to another host")
	last := w.Left() - 1
	w.Follow(last - 1)
	boot := w.Output("vm1", "cat /proc/sys/kernel/random/boot_id")
	w.Follow(1) // the move
	if now := w.Output("vm1-moved", "cat /proc/sys/kernel/random/boot_id"); now != boot {
		t.Error("the guest has not moved, but booted")
	}
	const connections = "netstat -tn | awk '/:5201/ && /ESTABLISHED/ { print $5 }' | sort"
	before := w.Output("vm1-moved", connections)
	if before == "" {
		t.Error("the guest has lost its TCP connections")
	}
	w.Output("vm1-moved", `rx() { cat /sys/class/net/eth0/statistics/rx_bytes; }
		start=$(rx); until [ $(rx) -gt $((start + 1000000)) ]; do sleep 0.1; done`)
	if after := w.Output("vm1-moved", connections); after != before {
		t.Errorf("TCP connections were %s, and are %s", before, after)
	}
	w.Follow(1)
	printed(t, w, `52:54:00:00:00:01 +0 +lan `, `52:54:00:00:00:01 +0 +vm1 `)
}

func TestExampleRouters(t *testing.T) {
	w := startExample(t, "A lab of routers")
	w.Follow(w.Left() - 2) // until a wire is cut
	const partner = "grep 'Partner Mac' /proc/net/bonding/bond1"
	if found := w.Output("r1", partner); !strings.Contains(found, " 52:54:00:00:02:10") {
		t.Errorf("r1 has not found r2 by LACP: %s", found)
	}
	w.FollowAll()
}

func TestExamplePrometheus(t *testing.T) {
	startExample(t, "Prometheus").FollowAll()
}
