//go:build e2e && long

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestPlatforms has guests of other architectures and transports talk to one of this machine's.
func TestPlatforms(t *testing.T) {
	for i, c := range []struct {
		name    string
		cpu     vm.CPU
		device  string // QEMU's; default: the CPU's usual one
		options string
		format  string // of the rings
	}{
		{name: "arm64-pci", cpu: vm.ARM64, format: "split"},
		{name: "arm64-mmio", cpu: vm.ARM64, device: "virtio-net-device", format: "split"},
		{name: "s390x-split", cpu: vm.S390X, format: "split"},
		{name: "s390x-packed", cpu: vm.S390X, options: "packed=on", format: "packed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := testContext(t)
			s := swtest.Start(t, nil, "[port.peer]\n[port.guest]\n")
			config := guestConfig(s, vm.QEMU10, "guest", 10+i)
			config.CPU, config.Device, config.DeviceOptions = c.cpu, c.device, c.options
			config.IperfServer = false // busybox has none
			vms := vm.StartAll(t, guestConfig(s, vm.QEMU10, "peer", 2), config)
			peer, guest := vms[0], vms[1]
			t.Logf("the guest is %s", strings.TrimSpace(guest.MustRun(t, "uname -mr")))

			p := s.Port(t, "guest")
			if p.State != control.StateRunning || len(p.Rings) != 2 || p.Rings[0].Format != c.format || p.Rings[1].Format != c.format {
				t.Errorf("port: %s, rings %+v, want them %s", p.State, p.Rings, c.format)
			}
			addr := fmt.Sprintf("10.0.0.%d", 10+i)
			mustPing(t, ctx, guest, "10.0.0.2")
			mustPing(t, ctx, peer, addr, "-s", "1472", "-M", "do")
			mustPing(t, ctx, peer, fmt.Sprintf("fd00::%d", 10+i), "-c", "50", "-f")
			for _, st := range []*stream{startStream(ctx, guest, peer, "10.0.0.2", 4), startStream(ctx, peer, guest, addr, 4)} {
				st.wait(t)
			}
			if err := guest.Rebind(ctx); err != nil {
				t.Fatal(err)
			}
			mustPing(t, ctx, guest, "10.0.0.2")
			for reason, n := range s.Port(t, "guest").Counters.Drops {
				// Rings are full at times, and have no buffers while the driver is bound anew.
				if reason == "bad-offload" || reason == "too-big" || reason == "bad-chain" {
					t.Errorf("%d frames dropped: %s", n, reason)
				}
			}
			if n := s.Port(t, "guest").Counters.Resets.Total(); n != 0 {
				t.Errorf("the port was reset: %s", s.Port(t, "guest").LastError)
			}
		})
	}
}

// TestBigEndianLegacyGuest: a legacy driver on a big-endian machine cannot be served, and the port
// says why.
func TestBigEndianLegacyGuest(t *testing.T) {
	s := swtest.Start(t, nil, "[port.guest]\n")
	config := guestConfig(s, vm.QEMU10, "guest", 1)
	config.CPU, config.DeviceOptions = vm.S390X, "max_revision=0"
	config.IperfServer = false
	guest := vm.StartAll(t, config)[0]
	guest.MustRun(t, "ip link set eth0 up")
	swtest.Until(t, "the port has a hint", func() bool { return strings.Contains(s.Port(t, "guest").Hint, "big-endian") })
	s.WaitLog(t, 1, "max_revision=1")
}
