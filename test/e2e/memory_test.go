//go:build e2e && long

package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestMemoryHotplug plugs DIMMs into a guest and takes them out again, under traffic. Most are for
// movable pages alone, so that the guest can give them back; the last ones stay, for pages of the
// kernel: frames are received into them.
func TestMemoryHotplug(t *testing.T) {
	const (
		rounds = 20
		stay   = 3
		mib    = 128 // a block of the guest's memory
	)
	ctx := testContext(t)
	s := swtest.Start(t, nil, "[port.a]\n[port.b]\n")
	ca := guestConfig(s, vm.QEMU10, "a", 1)
	ca.MaxMemoryMiB = 2048
	vms := vm.StartAll(t, ca, guestConfig(s, vm.QEMU10, "b", 2))
	a, b := vms[0], vms[1]
	mustPing(t, ctx, a, "10.0.0.2")
	before := s.Port(t, "a")

	there, back := startStream(ctx, a, b, "10.0.0.2", 0), startStream(ctx, b, a, "10.0.0.1", 0)
	flood := make(chan struct{})
	go func() {
		_, _ = b.Run(ctx, "ping -f -q -w 600 10.0.0.1")
		close(flood)
	}()
	online := func() int {
		n, err := strconv.Atoi(strings.TrimSpace(a.MustRun(t, "cat /sys/devices/system/memory/memory*/state | grep -c online")))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	regions := func(n int) {
		t.Helper()
		swtest.Until(t, fmt.Sprintf("port a has %d MiB more of memory", n*mib), func() bool {
			return size(s.Port(t, "a").Regions) == size(before.Regions)+uint64(n*mib)<<20
		})
	}
	plugged, refused := 0, 0
	for round := range rounds {
		keep := round >= rounds-stay
		policy := "online_movable"
		if keep {
			policy = "online_kernel"
		}
		a.MustRun(t, "echo "+policy+" >/sys/devices/system/memory/auto_online_blocks")
		blocks, id := online(), fmt.Sprintf("dimm%d", round)
		if err := a.PlugMemory(ctx, id, mib); err != nil {
			t.Fatal(err)
		}
		plugged++
		regions(plugged)
		swtest.Until(t, "the guest uses the memory", func() bool { return online() == blocks+1 })
		waitFrames(t, s, 200, "a", "b")
		if keep {
			continue
		}
		switch err := a.UnplugMemory(ctx, id); {
		case errors.Is(err, vm.ErrInUse):
			refused++
		case err != nil:
			t.Fatal(err)
		default:
			plugged--
			regions(plugged)
			waitFrames(t, s, 200, "a", "b")
		}
	}
	t.Logf("%d DIMMs were plugged in, %d taken out again, %d not given back", rounds, rounds-plugged, refused)
	if plugged == rounds {
		t.Error("no memory was ever taken out")
	}
	waitFrames(t, s, 5000, "a", "b")
	t.Logf("pages of the kernel's in the memory that stays, by zone:\n%s",
		a.MustRun(t, `awk '/^Node/ { zone = $4 } $1 == "managed" { managed = $2 } $2 == "free" { free = $3 }
			$1 == "managed" { if (managed > 0) print zone, managed, "managed,", managed - free, "in use" }' /proc/zoneinfo`))

	b.MustRun(t, "killall ping; true")
	<-flood
	for _, st := range []*stream{there, back} {
		st.stop(t)
		st.wait(t)
	}
	mustPing(t, ctx, b, "10.0.0.1", "-c", "100", "-f")
	after := s.Port(t, "a")
	if c := after.Counters; c.Reconnects != before.Counters.Reconnects || c.Resets.Total() != 0 || after.LastError != "" {
		t.Errorf("the session was reset: %s, %v", after.LastError, c.Resets)
	}
	for reason := range after.Counters.Drops {
		if reason != "ring-full" && before.Counters.Drops[reason] != after.Counters.Drops[reason] {
			t.Errorf("drops: %v", after.Counters.Drops)
		}
	}
}

func size(regions []control.Region) (n uint64) {
	for _, r := range regions {
		n += r.Size
	}
	return n
}
