//go:build e2e

package e2e

import (
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vswitchd/internal/doctor"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestDoctor lets `vswitchctl doctor` examine a healthy switch, in which nothing must be found, and
// then switches with the most usual faults.
func TestDoctor(t *testing.T) {
	ctx := testContext(t)
	here, there := swtest.NewNetns(t), swtest.NewNetns(t)
	swtest.NewVeth(t, here, "nic0", there, "far0")
	const ports = "[sandbox]\nkeep_for = [\"uplink\"]\n[port.a]\n[port.b]\n"
	s := swtest.Start(t, here, ports)
	other := swtest.Start(t, nil, "[port.c]\n[port.d]\n")
	c := guestConfig(other, vm.QEMU10, "c", 3)
	c.ExtraArgs = []string{"-object", "memory-backend-memfd,id=private,size=256M,share=off", "-machine", "memory-backend=private"}
	vms := vm.StartAll(t, guestConfig(s, vm.QEMU10, "a", 1), guestConfig(s, vm.QEMU10, "b", 2), c)
	a, b := vms[0], vms[1]
	mustPing(t, ctx, a, "10.0.0.2")

	t.Run("healthy", func(t *testing.T) {
		for _, only := range []string{"", "a"} {
			if r, code := s.Doctor(t, only); code != 0 || len(r.Findings) > 0 {
				t.Errorf("exit code %d: %+v", code, r.Findings)
			}
		}
	})
	t.Run("memory is not shared", func(t *testing.T) {
		swtest.Until(t, "doctor finds it", func() bool {
			f := findingOf(other, t, "c", "memory-not-shared")
			return f != nil && f.Severity == doctor.Error && f.Evidence.Get("qemu_share") == "off"
		})
	})
	t.Run("second front-end", func(t *testing.T) {
		conn, err := net.Dial("unix", s.Socket("a"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		swtest.Until(t, "doctor finds it", func() bool { return findingOf(s, t, "a", "second-front-end") != nil })
	})
	t.Run("uplinks", func(t *testing.T) {
		here.Run(t, "ip", "link", "set", "nic0", "mtu", "1400")
		s.Reload(t, ports+"[uplink.lan]\ninterface = \"nic0\"\n[uplink.wan]\ninterface = \"nolink0\"\n")
		swtest.Until(t, "doctor finds the MTU and the absent interface", func() bool {
			return findingOf(s, t, "a", "mtu-mismatch") != nil && findingOf(s, t, "wan", "interface-absent") != nil
		})
		s.Reload(t, ports)
	})
	t.Run("small ring", func(t *testing.T) {
		a.MustRun(t, "ip neigh replace 10.0.0.2 lladdr "+b.Config.MAC+" dev eth0 nud permanent")
		if err := syscall.Kill(b.PID(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := syscall.Kill(b.PID(), syscall.SIGCONT); err != nil {
				t.Error(err)
			}
		}()
		pid := strings.TrimSpace(a.MustRun(t, "ping -q -i 0.002 10.0.0.2 >/dev/null 2>&1 & echo $!"))
		swtest.Until(t, "doctor finds it", func() bool {
			f := findingOf(s, t, "b", "small-ring")
			return f != nil && f.Severity == doctor.Warning && f.Evidence.Get("ring_size") == "256"
		})
		a.MustRun(t, "kill "+pid)
	})
}

// findingOf has a port examined, and returns its finding with an ID; nil: there is none.
func findingOf(s *swtest.Switch, t *testing.T, port, id string) *doctor.Finding {
	t.Helper()
	r, code := s.Doctor(t, port)
	i := slices.IndexFunc(r.Findings, func(f doctor.Finding) bool { return f.ID == id && f.Port == port })
	if i < 0 {
		return nil
	}
	if grave := r.Findings[i].Severity != doctor.Note; grave && code != 4 {
		t.Errorf("exit code %d: %+v", code, r.Findings)
	}
	return &r.Findings[i]
}
