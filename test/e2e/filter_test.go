//go:build e2e

package e2e

import (
	"testing"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestFilterBetweenGuests: a filter on what goes to a guest lets one port through and blocks
// another, for new connections and, once a set is changed, for those of other guests. The counters
// of its rules add up to the frames that the guest was sent and those that were dropped.
func TestFilterBetweenGuests(t *testing.T) {
	ctx := testContext(t)
	s := swtest.Start(t, nil, `
[port.a]
[port.b]
egress_filter = "server"
[set.friends]
addresses = ["10.0.0.7"]
[filter.server]
default = "drop"
rules = [
  { name = "arp", action = "accept", ethertype = "arp" },
  { name = "nd", action = "accept", icmpv6_type = ["nd-neighbor-solicit", "nd-neighbor-advert"] },
  { name = "all", action = "count" },
  { name = "web", action = "accept", proto = "tcp", dst_ports = 8080 },
  { name = "friends", action = "accept", proto = "tcp", dst_ports = 8081, src = "@friends" },
  { name = "blocked", action = "drop", proto = "tcp", dst_ports = 8081 },
  { name = "ping6", action = "accept", icmpv6_type = "echo-request" },
]
`)
	vms := vm.StartAll(t, guestConfig(s, vm.QEMU10, "a", 1), guestConfig(s, vm.QEMU10, "b", 2))
	a, b := vms[0], vms[1]
	b.MustRun(t, "iperf3 --server --daemon --port 8080 && iperf3 --server --daemon --port 8081")
	fetch := func(port string) bool {
		t.Helper()
		out, err := a.Run(ctx, "iperf3 --client 10.0.0.2 --port "+port+" --bytes 100K --connect-timeout 3000")
		if err != nil {
			t.Fatal(err)
		}
		return out.Exit == 0
	}
	rule := func(name string) uint64 {
		t.Helper()
		f := s.Filter(t, "server")
		for _, r := range append(f.Rules, f.Default) {
			if r.Name == name {
				return r.Frames
			}
		}
		t.Fatalf("the filter has no rule %q", name)
		return 0
	}
	if !fetch("8080") {
		t.Error("the port that is let through does not answer")
	}
	if fetch("8081") {
		t.Error("the port that is blocked answers")
	}
	if n := rule("blocked"); n == 0 {
		t.Error("the rule that blocks has counted no frames")
	}
	if n := rule("friends"); n != 0 {
		t.Errorf("the rule for friends has counted %d frames", n)
	}
	mustPing(t, ctx, a, "fd00::2")
	if out, err := a.Run(ctx, "ping -c 2 -i 0.2 -W 1 10.0.0.2"); err != nil || out.Exit == 0 {
		t.Errorf("a ping that no rule accepts is answered: %+v, %v", out, err)
	}
	s.AddToSet(t, "friends", "10.0.0.1")
	if !fetch("8081") {
		t.Error("the port does not answer a guest that was added to the set")
	}
	if n := rule("friends"); n == 0 {
		t.Error("the rule for friends has counted no frames")
	}

	// Frames that the guests send by themselves may come at any time, between two questions.
	swtest.Until(t, "the counters add up", func() bool {
		f, c := s.Filter(t, "server"), s.Port(t, "b").Counters
		accepted, dropped, behind := uint64(0), f.Default.Frames, f.Default.Frames
		for _, r := range f.Rules {
			switch r.Action {
			case "accept":
				accepted += r.Frames
			case "drop":
				dropped += r.Frames
			}
			if r.Name != "arp" && r.Name != "nd" && r.Name != "all" {
				behind += r.Frames
			}
		}
		// What guest b sends before guest a is there is counted as well, as without a destination.
		lost := c.Drops.Total() - c.Drops["filter"] - c.Drops["no-destination"]
		return accepted == c.TxFrames+lost && dropped == c.Drops["filter"] && rule("all") == behind
	})
}
