//go:build e2e

package e2e

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// xdpDevice is what docs/vhost-user.md advises for a guest that uses XDP, if its port has offloads.
const xdpDevice = "guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,guest_uso4=off,guest_uso6=off"

// TestXDP attaches an XDP program in the driver of a guest, which drops frames that have a partial
// checksum or are segments to be, whatever the program says. Nothing may be lost with either advice
// of docs/vhost-user.md, in a network whose other guest has all offloads.
func TestXDP(t *testing.T) {
	ctx := testContext(t)
	s := swtest.Start(t, nil, "[port.peer]\n[port.port]\noffloads = []\n[port.device]\n")
	byPort, byDevice := guestConfig(s, vm.QEMU10, "port", 2), guestConfig(s, vm.QEMU10, "device", 3)
	byDevice.DeviceOptions = xdpDevice
	vms := vm.StartAll(t, guestConfig(s, vm.QEMU10, "peer", 1), byPort, byDevice)
	peer := vms[0]
	for i, g := range vms[1:] {
		t.Run(g.Config.Name, func(t *testing.T) {
			g.MustRun(t, "xdppass eth0")
			if show := g.MustRun(t, "ip link show dev eth0"); !strings.Contains(show, " xdp ") {
				t.Fatalf("no program is attached in the driver: %s", show)
			}
			n := strconv.Itoa(i + 2)
			mustPing(t, ctx, g, "10.0.0.1")
			mustPing(t, ctx, peer, "10.0.0."+n, "-c", "100", "-f")
			mustPing(t, ctx, peer, "fd00::"+n, "-s", "1452", "-M", "do")
			mustIperf(t, ctx, g, "10.0.0.1")
			if seen := xdpCounter(t, g, "xdp_packets"); seen < 100 {
				t.Errorf("the program has seen %d frames", seen)
			}
			if lost := xdpCounter(t, g, "xdp_drops"); lost != 0 {
				t.Errorf("the driver has dropped %d frames:\n%s", lost, g.MustRun(t, "ethtool -S eth0"))
			}
		})
	}
}

// xdpCounter is the sum of a counter of eth0 over its receive queues.
func xdpCounter(t *testing.T, g *vm.VM, name string) (sum int) {
	t.Helper()
	found := regexp.MustCompile(`rx\d*_`+name+`: (\d+)`).FindAllStringSubmatch(g.MustRun(t, "ethtool -S eth0"), -1)
	if found == nil {
		t.Fatalf("eth0 does not count %s", name)
	}
	for _, f := range found {
		n, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
