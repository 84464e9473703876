//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// exists reports whether a namespace has an interface of that name.
func exists(ns *swtest.Netns, name string) bool {
	return ns.Command("ip", "link", "show", "dev", name).Run() == nil
}

// TestHostPort moves a machine's address from its NIC to a host port, as README.md says, and has
// the machine, its guests and the wire talk to each other.
func TestHostPort(t *testing.T) {
	ctx := testContext(t)
	here, there := swtest.NewNetns(t), swtest.NewNetns(t)
	swtest.NewVeth(t, here, "nic0", there, "far0")
	there.Run(t, "ip", "addr", "add", "10.0.0.9/24", "dev", "far0")
	there.Run(t, "ip", "addr", "add", "fd00::9/64", "dev", "far0", "nodad")
	there.Run(t, "ip", "addr", "add", "192.0.2.1/32", "dev", "lo")
	nsServer(t, here)
	here.Run(t, "ip", "addr", "add", "10.0.0.100/24", "dev", "nic0")
	here.Run(t, "ip", "route", "add", "default", "via", "10.0.0.9")
	nsPing(t, here, "192.0.2.1")

	here.Run(t, "ip", "address", "flush", "dev", "nic0")
	here.Run(t, "sysctl", "-qw", "net.ipv4.conf.nic0.arp_ignore=1", "net.ipv6.conf.nic0.disable_ipv6=1")
	const config = "[port.a]\n[port.b]\n[uplink.lan]\ninterface = \"nic0\"\n" +
		"[host.br0]\naddresses = [\"10.0.0.100/24\", \"fd00::100/64\"]\n"
	s := swtest.Start(t, here, config)
	here.Run(t, "ip", "route", "add", "default", "via", "10.0.0.9")
	guests := vm.StartAll(t, guestConfig(s, vm.QEMU10, "a", 1), guestConfig(s, vm.QEMU10, "b", 2))
	a, b := guests[0], guests[1]
	s.WaitState(t, "lan", control.StateRunning)
	s.WaitState(t, "br0", control.StateRunning)

	t.Run("all reach each other", func(t *testing.T) {
		for _, g := range guests {
			for _, host := range []string{"10.0.0.100", "fd00::100", "10.0.0.9", "fd00::9"} {
				mustPing(t, ctx, g, host)
			}
		}
		mustPing(t, ctx, a, "10.0.0.2")
		mustPing(t, ctx, b, "10.0.0.100", "-s", "1472", "-M", "do")
		for _, addr := range []string{"10.0.0.1", "fd00::2", "10.0.0.9", "fd00::9", "192.0.2.1"} {
			nsPing(t, here, addr)
		}
		for _, addr := range []string{"10.0.0.100", "fd00::100", "10.0.0.1"} {
			nsPing(t, there, addr)
		}
	})
	t.Run("iperf3", func(t *testing.T) {
		for _, args := range [][]string{nil, {"--reverse"}, {"--udp", "--bitrate", "20M"}, {"--udp", "--bitrate", "20M", "--reverse"}} {
			nsIperf(t, here, "10.0.0.1", args...)
			nsIperf(t, there, "10.0.0.100", args...)
		}
		nsIperf(t, here, "fd00::1")
		nsIperf(t, there, "fd00::100")
		mustIperf(t, ctx, a, "10.0.0.100")
	})
	t.Run("the host's traffic stays with the host", func(t *testing.T) {
		before := s.Port(t, "b").Counters.TxFrames
		nsPing(t, there, "10.0.0.100", "-c", "200", "-i", "0.002")
		nsPing(t, here, "10.0.0.1", "-c", "200", "-i", "0.002")
		if n := s.Port(t, "b").Counters.TxFrames - before; n >= 200 {
			t.Errorf("%d frames went to another guest", n)
		}
	})
	t.Run("port show", func(t *testing.T) {
		p := s.Port(t, "br0")
		if p.Kind != control.KindHost || p.Interface != "br0" || !slices.Contains(p.Addresses, "10.0.0.100/24") || len(p.HostMACs) != 1 {
			t.Errorf("br0: %+v", p)
		}
		for _, reason := range []string{"too-big", "bad-offload"} {
			for _, port := range []string{"br0", "lan", "a"} {
				if n := s.Port(t, port).Counters.Drops[reason]; n > 0 {
					t.Errorf("%s dropped %d frames: %s", port, n, reason)
				}
			}
		}
	})
	t.Run("a VLAN of its own", func(t *testing.T) {
		s.Configure(t, config+"[host.br5]\naddresses = [\"10.5.0.100/24\"]\ntag = 5\n")
		from := len(s.Log())
		s.Signal(t, syscall.SIGHUP)
		s.WaitLog(t, from, "port br5 added")
		s.WaitState(t, "br5", control.StateRunning)
		a.MustRun(t, "ip link add link eth0 name eth0.5 type vlan id 5 && ip addr add 10.5.0.1/24 dev eth0.5 && ip link set eth0.5 up")
		mustPing(t, ctx, a, "10.5.0.100")
		nsPing(t, here, "10.5.0.1")
		s.Configure(t, config)
		s.Signal(t, syscall.SIGHUP)
		swtest.Until(t, "br5 is gone", func() bool { return !exists(here, "br5") })
	})
	t.Run("killed and started again", func(t *testing.T) {
		index := here.Run(t, "cat", "/sys/class/net/br0/ifindex")
		s.Kill()
		if !exists(here, "br0") {
			t.Fatal("there is nothing to take over")
		}
		s.Launch(t)
		s.WaitState(t, "br0", control.StateRunning)
		if now := here.Run(t, "cat", "/sys/class/net/br0/ifindex"); now != index {
			t.Errorf("br0 is interface %s, was %s", now, index)
		}
		if err := a.WaitPing(ctx, "10.0.0.100"); err != nil {
			t.Fatal(err)
		}
		nsPing(t, here, "192.0.2.1")
	})
	t.Run("persist", func(t *testing.T) {
		stop := func() {
			t.Helper()
			s.Signal(t, syscall.SIGTERM)
			if code := s.Wait(); code != 0 {
				t.Errorf("vswitchd ends with %d", code)
			}
		}
		s.Configure(t, config+"persist = true\n")
		s.Signal(t, syscall.SIGHUP)
		swtest.Until(t, "the reload is done", func() bool { return s.Port(t, "br0").Settings.Get("persist") == "true" })
		stop()
		if !exists(here, "br0") {
			t.Fatal("br0 is gone, and was to stay")
		}
		s.Configure(t, config)
		s.Launch(t)
		if err := a.WaitPing(ctx, "10.0.0.100"); err != nil {
			t.Fatal(err)
		}
		stop()
		if exists(here, "br0") || exists(here, "vs-br0") {
			t.Error("br0 is left behind")
		}
	})
}

// TestHostPortServesVLANs: host ports in two VLANs serve the guests of these VLANs, which are at
// access ports, with addresses by DHCP and with TCP and UDP both ways.
func TestHostPortServesVLANs(t *testing.T) {
	ctx := testContext(t)
	here := swtest.NewNetns(t)
	s := swtest.Start(t, here, `
[port.a]
tag = 5
[port.b]
tag = 6
[host.br5]
addresses = ["10.5.0.100/24"]
tag = 5
[host.br6]
addresses = ["10.6.0.100/24"]
tag = 6
`)
	guests := vm.StartAll(t, vm.Config{Name: "a", Socket: s.Socket("a")}, vm.Config{Name: "b", Socket: s.Socket("b")})
	s.WaitState(t, "br5", control.StateRunning)
	s.WaitState(t, "br6", control.StateRunning)
	serveDHCP(t, here, map[string]string{"br5": "10.5.0.1,10.5.0.50", "br6": "10.6.0.1,10.6.0.50"})
	flow := flowCommand(t)
	startNetnsJob(t, here, "listening", flow, "serve", flowPort)
	var addr string
	for i, network := range []string{"10.5.0.", "10.6.0."} {
		g, server := guests[i], network+"100"
		addr = dhcp(t, g, 20)
		if !strings.HasPrefix(addr, network) {
			t.Fatalf("guest %s got the address %q", g.Config.Name, addr)
		}
		mustPing(t, ctx, g, server)
		nsPing(t, here, addr)
		mustFlow(t, g, server, "-bytes 20000000")
		startJob(t, g, "flow serve "+flowPort, "listening")
		checkFlow(t, "the host to "+addr, here.Run(t, flow, "send", "-bytes", "20000000", addr, flowPort))
		for _, reason := range []string{"too-big", "bad-offload", "vlan"} {
			for _, port := range []string{"br5", "br6", "a", "b"} {
				if n := s.Port(t, port).Counters.Drops[reason]; n > 0 {
					t.Errorf("%s dropped %d frames: %s", port, n, reason)
				}
			}
		}
	}
	guests[0].MustRun(t, "ip addr add 10.6.0.77/24 dev eth0")
	noPing(t, guests[0], addr, "-I", "10.6.0.77") // in the other VLAN
}

// TestHostPortRefusesForeignInterface starts vswitchd where somebody else has an interface of a
// host port's name.
func TestHostPortRefusesForeignInterface(t *testing.T) {
	here := swtest.NewNetns(t)
	s := swtest.Start(t, here, "[host.br0]\n")
	s.Signal(t, syscall.SIGTERM)
	if code := s.Wait(); code != 0 {
		t.Errorf("vswitchd ends with %d", code)
	}
	here.Run(t, "ip", "link", "add", "br0", "type", "bridge")
	for _, args := range [][]string{{"--check"}, nil} {
		cmd := here.Command(swtest.Program(t), append([]string{"--config", s.ConfigFile()}, args...)...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "host.br0: there is a network interface br0 already, and vswitchd has not made it") {
			t.Errorf("vswitchd %s: %v\n%s", args, err, out)
		}
	}
	if !strings.Contains(here.Run(t, "ip", "-d", "link", "show", "dev", "br0"), "bridge") {
		t.Error("the bridge has changed")
	}
}
