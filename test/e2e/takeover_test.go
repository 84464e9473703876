//go:build e2e

package e2e

import (
	"sync"
	"syscall"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestTakeover has one vswitchd after another take over, while guests of all kinds ping each other.
// No ping is lost or answered twice, and no front-end connects again, which most of them could not.
func TestTakeover(t *testing.T) {
	ctx := testContext(t)
	s := swtest.Start(t, nil, "[port.a]\nqueues = 2\n[port.b]\nmode = \"client\"\n[port.c]\n")
	a, b, c := guestConfig(s, vm.QEMU10, "a", 1), guestConfig(s, vm.QEMU10, "b", 2), guestConfig(s, vm.UML, "c", 3)
	a.Reconnect, a.Queues, a.DeviceOptions = 0, 2, "packed=on"
	b.Role = vm.Server
	vms := vm.StartAll(t, a, b, c)
	for _, addr := range []string{"10.0.0.2", "10.0.0.3"} {
		mustPing(t, ctx, vms[0], addr)
	}
	type result struct {
		from *vm.VM
		vm.PingReport
		err error
	}
	results := make(chan result, len(vms))
	for i, m := range vms {
		to := []string{"10.0.0.2", "10.0.0.3", "10.0.0.1"}[i]
		go func() {
			r, err := m.PingAll(ctx, to, "-c", "300", "-i", "0.01")
			results <- result{m, r, err}
		}()
	}
	for range 5 {
		waitFrames(t, s, 20, "a", "b", "c")
		s.TakeOver(t)
	}
	for range vms {
		r := <-results
		if r.err != nil || r.Received != r.Sent || r.Duplicates != 0 {
			t.Errorf("guest %s: %+v, %v", r.from.Config.Name, r.PingReport, r.err)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		p := s.Port(t, name)
		if p.State != control.StateRunning || p.Session.Number != 1 || p.Counters.Resets.Total() != 0 {
			t.Errorf("port %s is %s in session %d, with %d resets", name, p.State, p.Session.Number, p.Counters.Resets.Total())
		}
	}
	// What the driver asks for later is done, too.
	vms[0].MustRun(t, "ip link set eth0 mtu 1400; ethtool -L eth0 combined 1 || true")
	vms[2].MustRun(t, "ip link set eth0 down; ip link set eth0 up")
	mustPing(t, ctx, vms[0], "10.0.0.2")
	mustPing(t, ctx, vms[2], "10.0.0.1")
	vms[0].Close()
	s.WaitState(t, "a", control.StateListening)
}

// TestTakeoverOfUplinks has one vswitchd after another take over an uplink and a host port, by
// which the host and the wire ping each other a thousand times a second. No ping is lost, and the
// host port's interface and its addresses stay.
func TestTakeoverOfUplinks(t *testing.T) {
	for _, promiscuous := range []string{"true", "false"} {
		t.Run("promiscuous="+promiscuous, func(t *testing.T) {
			here, there := swtest.NewNetns(t), swtest.NewNetns(t)
			swtest.NewVeth(t, here, "nic0", there, "far0")
			there.Run(t, "ip", "addr", "add", "10.0.0.9/24", "dev", "far0")
			s := swtest.Start(t, here, "[uplink.lan]\ninterface = \"nic0\"\npromiscuous = "+promiscuous+
				"\n[host.br0]\naddresses = [\"10.0.0.100/24\"]\n")
			s.WaitState(t, "lan", control.StateRunning)
			s.WaitState(t, "br0", control.StateRunning)
			nsPing(t, here, "10.0.0.9")
			index := here.Run(t, "cat", "/sys/class/net/br0/ifindex")
			var pings sync.WaitGroup
			for ns, addr := range map[*swtest.Netns]string{here: "10.0.0.9", there: "10.0.0.100"} {
				pings.Go(func() { nsPing(t, ns, addr, "-c", "2000", "-i", "0.001") })
			}
			for range 5 {
				waitFrames(t, s, 100, "lan", "br0")
				s.TakeOver(t)
			}
			pings.Wait()
			for _, name := range []string{"lan", "br0"} {
				if p := s.Port(t, name); p.State != control.StateRunning || p.Counters.Drops["kernel-ring-full"] != 0 {
					t.Errorf("port %s is %s, with drops %v", name, p.State, p.Counters.Drops)
				}
			}
			if now := here.Run(t, "cat", "/sys/class/net/br0/ifindex"); now != index {
				t.Errorf("br0 is interface %s instead of %s", now, index)
			}
			s.Signal(t, syscall.SIGTERM)
			if code := s.Wait(); code != 0 || exists(here, "br0") {
				t.Errorf("vswitchd has ended with %d; br0 exists: %t", code, exists(here, "br0"))
			}
		})
	}
}

// TestUpgradeCommand upgrades vswitchd by vswitchctl, twice, while two guests talk: the new process
// has the arguments and the log of the old one.
func TestUpgradeCommand(t *testing.T) {
	s := swtest.Start(t, nil, "loop_detection = false\n[port.a]\n[port.b]\n")
	a, err := station.Connect(s.Socket("a"), station.Config{MAC: station.Addr(1)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := station.Connect(s.Socket("b"), station.Config{MAC: station.Addr(2)})
	if err != nil {
		t.Fatal(err)
	}
	a.Talk(b.MAC(), 16)
	a.Start()
	b.Start()
	was := s.PID()
	for range 2 {
		if err := a.Await(100); err != nil {
			t.Fatal(err)
		}
		answer := decode[struct{ PID, Was int }](t, s.Ctl(t, "upgrade", "-j"))
		t.Cleanup(func() { _ = syscall.Kill(answer.PID, syscall.SIGKILL) })
		if now := s.Info(t).PID; answer.Was != was || answer.PID != now || now == was {
			t.Errorf("process %d has taken over from %d, says the command; it was %d, and is %d", answer.PID, answer.Was, was, now)
		}
		was = answer.PID
	}
	if err := a.Await(100); err != nil {
		t.Fatal(err)
	}
	for _, st := range []*station.Station{a, b} {
		if err := st.Leave(); err != nil {
			t.Error(err)
		}
	}
	if err := syscall.Kill(was, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.WaitLog(t, 0, "vswitchd: stopped")
}
