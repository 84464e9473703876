//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// forEachQEMU runs a test with each version of QEMU.
func forEachQEMU(t *testing.T, test func(t *testing.T, q vm.QEMU)) {
	versions, err := vm.Versions()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range versions {
		t.Run("QEMU "+string(q), func(t *testing.T) { test(t, q) })
	}
}

// mustPing pings from a guest, and wants every reply.
func mustPing(t *testing.T, ctx context.Context, from *vm.VM, addr string, args ...string) {
	t.Helper()
	report, err := from.PingAll(ctx, addr, args...)
	if err != nil {
		t.Fatal(err)
	}
	if report.Sent == 0 || report.Received != report.Sent {
		t.Fatalf("%s pings %s: %+v", from.Config.Name, addr, report)
	}
}

// mustIperf runs iperf3 from a guest against a server, TCP and UDP, both ways, and wants data to
// arrive. Speeds are only logged.
func mustIperf(t *testing.T, ctx context.Context, from *vm.VM, addr string) {
	t.Helper()
	for _, args := range [][]string{
		{"--time", "1"},
		{"--time", "1", "--reverse"},
		{"--time", "1", "--udp", "--bitrate", "20M"},
		{"--time", "1", "--udp", "--bitrate", "20M", "--reverse"},
	} {
		r, err := whenFree(func() (vm.IperfReport, error) { return from.Iperf(ctx, addr, args...) })
		if err != nil {
			t.Fatal(err)
		}
		if r.Bytes == 0 {
			t.Errorf("iperf3 %s: nothing arrived: %+v", strings.Join(args, " "), r)
		}
		t.Logf("iperf3 from %s to %s %s: %.0f Mbit/s, %d retransmits, %d of %d datagrams lost",
			from.Config.Name, addr, strings.Join(args, " "), r.BitsPerSecond/1e6, r.Retransmits, r.Lost, r.Packets)
	}
}

// whenFree runs an iperf3 client again while the server, which takes one client at a time, is still
// busy with the one before: it says so, or hangs up, or does not listen.
func whenFree(client func() (vm.IperfReport, error)) (r vm.IperfReport, err error) {
	for range 10 {
		r, err = client()
		if err == nil || !slices.ContainsFunc([]string{"control message", "busy", "refused"}, func(s string) bool { return strings.Contains(err.Error(), s) }) {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	return r, err
}

// nsIperf runs iperf3 in a namespace against a guest.
func nsIperf(t *testing.T, ns *swtest.Netns, addr string, args ...string) vm.IperfReport {
	t.Helper()
	command := append([]string{"--json", "--client", addr, "--time", "1", "--connect-timeout", "10000"}, args...)
	r, err := whenFree(func() (vm.IperfReport, error) {
		cmd := ns.Command("iperf3", command...)
		out, _ := cmd.Output() // the output says what failed
		r, err := vm.ParseIperf(out)
		if err != nil {
			err = fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
		}
		return r, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Bytes == 0 {
		t.Errorf("iperf3 to %s %s: nothing arrived: %+v", addr, strings.Join(args, " "), r)
	}
	t.Logf("iperf3 from namespace to %s %s: %.0f Mbit/s, %d retransmits", addr, strings.Join(args, " "), r.BitsPerSecond/1e6, r.Retransmits)
	return r
}

// nsServer runs an iperf3 server in a namespace.
func nsServer(t *testing.T, ns *swtest.Netns) {
	t.Helper()
	cmd := ns.Command("iperf3", "--server", "--forceflush")
	start(t, cmd)
}

// start starts a command that is killed when the test ends.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// waitFrames waits until n more frames were sent to each of the ports. It may be called right after
// vswitchd was restarted, when counters begin at 0.
func waitFrames(t *testing.T, s *swtest.Switch, n uint64, ports ...string) {
	t.Helper()
	for _, port := range ports {
		from := s.Port(t, port).Counters.TxFrames
		swtest.Until(t, "frames flow to "+port, func() bool { return s.Port(t, port).Counters.TxFrames >= from+n })
	}
}

// guestConfig is a guest on a port of the same name.
func guestConfig(s *swtest.Switch, q vm.QEMU, name string, n int) vm.Config {
	return vm.Config{
		Name: name, QEMU: q, Socket: s.Socket(name),
		IPs:         []string{fmt.Sprintf("10.0.0.%d/24", n), fmt.Sprintf("fd00::%d/64", n)},
		IperfServer: true,
		Reconnect:   100 * time.Millisecond,
	}
}
