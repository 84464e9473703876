//go:build e2e && long

package e2e

import (
	"context"
	"testing"
	"time"

	"vswitchd/internal/control"
)

// TestLibvirtMultiqueue runs the example for libvirt with four queue pairs and memory in huge
// pages.
func TestLibvirtMultiqueue(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	hugepages(t)
	l, s := startLibvirt(t)
	l.define(t, s, "libvirt-multiqueue.xml", "vm3", "10.0.0.3")
	l.define(t, s, "libvirt.xml", "vm1", "10.0.0.1")
	l.virsh(t, ctx, "start", "vm3")
	l.virsh(t, ctx, "start", "vm1")
	vm3, vm1 := l.agent(t, ctx, "vm3"), l.agent(t, ctx, "vm1")
	vm3.ping(t, ctx, "10.0.0.1")
	vm1.ping(t, ctx, "10.0.0.3")

	if queues := vm3.run(t, ctx, "ls -d /sys/class/net/eth0/queues/rx-* | wc -l"); queues != "4" {
		t.Errorf("the guest has %s receive queues", queues)
	}
	p := s.Port(t, "vm3")
	if p.State != control.StateRunning || p.Queues != 4 {
		t.Errorf("port vm3 is %s and has %d queue pairs", p.State, p.Queues)
	}
	if len(p.Regions) == 0 {
		t.Error("port vm3 has no memory")
	}
	for _, r := range p.Regions {
		if r.PageSize != 2<<20 {
			t.Errorf("port vm3: region %+v", r)
		}
	}
}
