//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// installDPDK is a shell script that runs a command on a machine where DPDK's libraries and plugins
// look installed: those of an unpacked tree, named first, in a mount namespace.
const installDPDK = `
tree=$1; shift
libraries=$(dirname "$(echo "$tree"/usr/lib/*-linux-gnu/librte_eal.so.[0-9][0-9])")
installed=/usr/lib/$(basename "$libraries")
layer=$(mktemp -d) && mount -t tmpfs none "$layer" && mkdir "$layer/upper" "$layer/work" &&
mount -t overlay none -o "lowerdir=$installed,upperdir=$layer/upper,workdir=$layer/work" "$installed" &&
umount -l "$layer" && rmdir "$layer" &&
cp -a "$libraries"/librte_* "$libraries"/dpdk "$installed" && exec "$@"`

// TestTestpmdBesideInstalledDPDK has the lab's testpmd start on a machine that also has Debian's
// DPDK installed. DPDK loads the drivers in the folder of the installed one by itself, and aborts
// when a driver is loaded twice.
func TestTestpmdBesideInstalledDPDK(t *testing.T) {
	// testpmd sends what it gets by one port to the other: it is a loop.
	s := swtest.Start(t, nil, "loop_detection = false\n[port.a]\n[port.b]\n")
	ports := []testpmdPort{{s.Socket("a"), station.Addr(1), ""}, {s.Socket("b"), station.Addr(2), ""}}
	command := testpmdCommand(t, nil, ports)
	program, err := vm.Tool("dpdk-testpmd")
	if err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(filepath.Dir(program), "tree", "dpdk-testpmd")
	if info, err := os.Lstat(program); err != nil {
		t.Fatal(err)
	} else if info.Mode().IsRegular() { // else it is the installed one
		command = append([]string{"unshare", "--mount", "sh", "-ec", installDPDK, "sh", tree}, command...)
		plugins := exec.Command("unshare", "--mount", "sh", "-ec", installDPDK, "sh", tree, "sh", "-c", "ls -d /usr/lib/*-linux-gnu/dpdk/pmds-*/librte_net_virtio.so.*")
		if out, err := plugins.CombinedOutput(); err != nil || !strings.Contains(string(out), "librte_net_virtio") {
			t.Fatalf("no plugins are installed: %v\n%s", err, out)
		}
	}
	pmd := runTestpmdCommand(t, command)
	pmd.do("start tx_first")
	for _, port := range []string{"a", "b"} {
		s.WaitState(t, port, control.StateRunning)
		swtest.Until(t, "frames flow to port "+port, func() bool { return s.Port(t, port).Counters.TxFrames > 100 })
	}
	pmd.quit()
}
