//go:build e2e && long

package e2e

import (
	"testing"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestHugePages has two guests whose memory is in huge pages talk.
func TestHugePages(t *testing.T) {
	ctx := testContext(t)
	hugepages(t) // 512 MiB of them: what two guests have
	s := swtest.Start(t, nil, "[port.a]\n[port.b]\n")
	ca, cb := guestConfig(s, vm.QEMU10, "a", 1), guestConfig(s, vm.QEMU10, "b", 2)
	ca.HugePages, cb.HugePages = true, true
	vms := vm.StartAll(t, ca, cb)
	a, b := vms[0], vms[1]
	for _, port := range []string{"a", "b"} {
		regions := s.Port(t, port).Regions
		if len(regions) == 0 {
			t.Errorf("port %s has no memory", port)
		}
		for _, r := range regions {
			if r.PageSize != 2<<20 {
				t.Errorf("port %s: region %+v", port, r)
			}
		}
	}
	mustPing(t, ctx, a, "10.0.0.2")
	mustPing(t, ctx, b, "10.0.0.1", "-c", "200", "-f")
	for _, st := range []*stream{startStream(ctx, a, b, "10.0.0.2", 8), startStream(ctx, b, a, "10.0.0.1", 8)} {
		st.wait(t)
	}
}
