//go:build e2e && long

package e2e

import (
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestNICHotplug plugs a network device into a guest and takes it out again, while others flood it:
// each time it is another front-end on the same socket.
func TestNICHotplug(t *testing.T) {
	const rounds = 10
	ctx := testContext(t)
	s := swtest.Start(t, nil, "[port.a]\n[port.b]\n")
	ca := guestConfig(s, vm.QEMU10, "a", 1)
	socket, mac := ca.Socket, "52:54:00:00:00:0a"
	ca.NoNIC, ca.Socket, ca.IPs = true, "", nil // without a device it would wait for its addresses
	ca.ExtraArgs = []string{"-device", "pcie-root-port,id=plug,chassis=1"}
	vms := vm.StartAll(t, ca, guestConfig(s, vm.QEMU10, "b", 2))
	a, b := vms[0], vms[1]
	execute := func(command string, arguments map[string]any) {
		t.Helper()
		if _, err := a.Execute(ctx, command, arguments); err != nil {
			t.Fatal(err)
		}
	}
	// To an address that nobody else has, so that each request of the flood goes to port a.
	b.MustRun(t, "ip neigh replace 10.0.0.1 lladdr "+mac+" dev eth0")
	flood := make(chan struct{})
	go func() {
		_, _ = b.Run(ctx, "ping -f -q -w 600 10.0.0.1")
		close(flood)
	}()
	for round := range rounds {
		execute("chardev-add", map[string]any{"id": "net", "backend": map[string]any{"type": "socket", "data": map[string]any{
			"addr": map[string]any{"type": "unix", "data": map[string]any{"path": socket}}, "server": false,
		}}})
		execute("netdev_add", map[string]any{"type": "vhost-user", "id": "net", "chardev": "net"})
		execute("device_add", map[string]any{"driver": "virtio-net-pci", "id": "nic", "netdev": "net", "mac": mac, "bus": "plug", "romfile": ""})
		a.MustRun(t, "until ip address add 10.0.0.1/24 dev eth0 2>/dev/null; do sleep 0.05; done; ip link set eth0 up")
		s.WaitState(t, "a", control.StateRunning)
		if err := a.WaitPing(ctx, "10.0.0.2"); err != nil {
			t.Fatal(err)
		}
		waitFrames(t, s, 200, "a", "b")
		execute("device_del", map[string]any{"id": "nic"})
		if _, err := a.WaitEvent(ctx, "DEVICE_DELETED"); err != nil {
			t.Fatal(err)
		}
		execute("netdev_del", map[string]any{"id": "net"}) // and its chardev with it
		s.WaitState(t, "a", control.StateListening)
		if p := s.Port(t, "a"); p.Counters.Resets.Total() != 0 || p.LastError != "" {
			t.Fatalf("round %d: the port was reset: %s, %v", round, p.LastError, p.Counters.Resets)
		}
	}
	if n := s.Port(t, "a").Counters.Reconnects; n != rounds-1 {
		t.Errorf("%d reconnects counted, want %d", n, rounds-1)
	}
	b.MustRun(t, "killall ping; true")
	<-flood
}
