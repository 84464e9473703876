//go:build e2e

package vm

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), BootTimeout)
	t.Cleanup(cancel)
	return ctx
}

// forEachQEMU boots two guests whose network devices are joined by a socket of QEMU's own.
func forEachQEMU(t *testing.T, test func(t *testing.T, a, b *VM)) {
	versions, err := Versions()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range versions {
		t.Run("QEMU "+string(version), func(t *testing.T) {
			dir := t.TempDir()
			end := func(name, local, remote string) Config {
				return Config{
					Name: name, QEMU: version, IperfServer: true,
					Netdev: "dgram,id=net0,local.type=unix,local.path=" + filepath.Join(dir, local) +
						",remote.type=unix,remote.path=" + filepath.Join(dir, remote),
				}
			}
			a, b := end("a", "a", "b"), end("b", "b", "a")
			a.IPs = []string{"10.0.0.1/24", "fd00::1/64"}
			b.IPs = []string{"10.0.0.2/24", "fd00::2/64"}
			vms := StartAll(t, a, b)
			test(t, vms[0], vms[1])
		})
	}
}

func mustPing(t *testing.T, ctx context.Context, from *VM, addr string, args ...string) {
	t.Helper()
	report, err := from.PingAll(ctx, addr, args...)
	if err != nil {
		t.Fatal(err)
	}
	if report.Sent == 0 || report.Received != report.Sent {
		t.Fatalf("ping %s: %+v", addr, report)
	}
}

func TestGuests(t *testing.T) {
	forEachQEMU(t, func(t *testing.T, a, b *VM) {
		ctx := testContext(t)
		mustPing(t, ctx, a, "10.0.0.2")
		mustPing(t, ctx, b, "10.0.0.1", "-c", "50", "-f")
		mustPing(t, ctx, a, "fd00::2", "-s", "1452", "-M", "do")

		tcp, err := a.Iperf(ctx, "10.0.0.2", "--time", "1")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := b.Iperf(ctx, "10.0.0.1", "--time", "1", "--udp", "--bitrate", "5M")
		if err != nil {
			t.Fatal(err)
		}
		if tcp.Bytes == 0 || udp.Bytes == 0 || udp.Packets == 0 {
			t.Errorf("iperf3: TCP %+v, UDP %+v", tcp, udp)
		}
		t.Logf("iperf3: TCP %.0f Mbit/s, UDP %d of %d lost", tcp.BitsPerSecond/1e6, udp.Lost, udp.Packets)

		for _, command := range []string{"ethtool -i eth0", "tcpdump --version", "ip -d link show eth0", "iperf3 --version"} {
			a.MustRun(t, command)
		}
		a.MustRun(t, "ip link add link eth0 name eth0.5 type vlan id 5 && ip addr add 10.5.0.1/24 dev eth0.5 && ip link set eth0.5 up")
		b.MustRun(t, "ip link add link eth0 name eth0.5 type vlan id 5 && ip addr add 10.5.0.2/24 dev eth0.5 && ip link set eth0.5 up")
		mustPing(t, ctx, a, "10.5.0.2")

		t.Log("rebind the driver")
		if err := a.Rebind(ctx); err != nil {
			t.Fatal(err)
		}
		if err := b.WaitPing(ctx, "10.0.0.1"); err != nil {
			t.Fatal(err)
		}

		t.Log("reboot")
		began := time.Now()
		if err := a.Reboot(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("rebooted in %.1f s", time.Since(began).Seconds())
		if err := b.WaitPing(ctx, "10.0.0.1"); err != nil {
			t.Fatal(err)
		}

		t.Log("reset")
		boot := a.Boot()
		if _, err := a.Execute(ctx, "system_reset", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := a.WaitEvent(ctx, "RESET"); err != nil {
			t.Fatal(err)
		}
		if err := a.WaitReboot(ctx, boot); err != nil {
			t.Fatal(err)
		}
		mustPing(t, ctx, a, "fd00::2")

		t.Log("power off, quit")
		if _, err := a.Run(ctx, "poweroff"); err != nil {
			t.Fatal(err)
		}
		if err := a.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Execute(ctx, "quit", nil); err != nil {
			t.Fatal(err)
		}
		if err := b.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCommands(t *testing.T) {
	ctx := testContext(t)
	vm := Start(t, Config{NoNIC: true})

	slow := make(chan error, 1)
	go func() {
		_, err := vm.Output(ctx, "until [ -e /tmp/go ]; do sleep 0.05; done")
		slow <- err
	}()
	result, err := vm.Run(ctx, "echo out; echo err >&2; exit 3")
	if err != nil || result.Exit != 3 || result.Stdout != "out\n" || result.Stderr != "err\n" {
		t.Errorf("got %+v, %v", result, err)
	}
	if out := vm.MustRun(t, "seq 20000"); !strings.HasSuffix(out, "\n20000\n") || len(out) != 108894 {
		t.Errorf("long output is %d bytes", len(out))
	}
	vm.MustRun(t, "touch /tmp/go")
	if err := <-slow; err != nil {
		t.Error("side by side with others:", err)
	}

	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if result, err := vm.Run(short, "sleep 100"); err == nil && result.Error == "" {
		t.Errorf("ran out of time and got %+v", result)
	}
	vm.MustRun(t, "while pgrep -x sleep; do usleep 50000; done") // it was killed in the guest, too

	vm.Kill()
	if _, err := vm.Run(ctx, "true"); err == nil {
		t.Error("a command ran in a guest that was killed")
	}
	if err := vm.Wait(ctx); err == nil {
		t.Error("killed, but said to have ended well")
	}
}
