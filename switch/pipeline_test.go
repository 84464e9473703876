package vswitch_test

import (
	"fmt"
	"strings"
	"testing"

	vswitch "vswitchd/switch"
)

// Each bit of group_fwd_mask allows one reserved address, alone in a batch and among frames to the
// others. The mask of the source port applies, and a change takes effect with the next frame.
func TestGroupFwdMask(t *testing.T) {
	reserved := func(i int) vswitch.MAC { return vswitch.MAC{0x01, 0x80, 0xc2, 0, 0, byte(i)} }
	l := newLab(t, vswitch.Config{})
	a := l.add("a")
	l.addAll("b", "c")
	for bit := range 16 {
		cfg := a.Config()
		cfg.GroupFwdMask = 1 << bit
		if err := a.Reconfigure(cfg); err != nil {
			t.Fatal(err)
		}
		var batch [][]byte
		for i := range 16 {
			batch = append(batch, ether(reserved(i), macA, fmt.Sprint(i)))
		}
		l.send("a", batch...)
		l.want(fmt.Sprintf("mask %#x", 1<<bit), got{"b": fmt.Sprint(bit), "c": fmt.Sprint(bit)})
		l.send("a", ether(reserved(bit), macA, "alone"), ether(reserved(bit), macA, "again"))
		l.want(fmt.Sprintf("mask %#x", 1<<bit), got{"b": "alone again", "c": "alone again"})
		l.send("b", ether(reserved(bit), macB, "back"))
		l.want("from a port whose mask is 0", got{})
	}
	l.drops("a", drops{"reserved-address": 16 * 15})
	l.drops("b", drops{"reserved-address": 16})
}

func TestOneTransmitForEachDestination(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b", "c")
	l.send("b", ether(broadcast, macB, ""))
	l.send("c", ether(broadcast, macC, ""))
	b, c := l.ports["b"].Batches(), l.ports["c"].Batches()
	var batch [][]byte
	for i := range vswitch.MaxBatch {
		batch = append(batch, ether([]vswitch.MAC{macB, macC, broadcast}[i%3], macA, ""))
	}
	l.send("a", batch...)
	if nb, nc := l.ports["b"].Batches()-b, l.ports["c"].Batches()-c; nb != 1 || nc != 1 {
		t.Errorf("Transmit was called %d and %d times, want once each", nb, nc)
	}
}

func TestMoreThanABatch(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	var batch [][]byte
	var want []string
	for i := range 3*vswitch.MaxBatch + 1 {
		want = append(want, fmt.Sprint(i))
		batch = append(batch, ether(macB, macA, want[i]))
	}
	l.send("a", batch...)
	l.send("a")
	l.want("193 frames", got{"b": strings.Join(want, " ")})
}

func TestReceivedIsCounted(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	l.send("a", ether(macB, macA, "12345"), ether(macB, multicast, ""))
	c := l.ports["a"].counters
	if f, b := c.RxFrames.Load(), c.RxBytes.Load(); f != 2 || b != 19+14 {
		t.Errorf("received %d frames of %d bytes, want 2 of 33", f, b)
	}
	c = l.ports["b"].counters
	if f, b := c.TxFrames.Load(), c.TxBytes.Load(); f != 1 || b != 19 {
		t.Errorf("sent %d frames of %d bytes, want 1 of 19", f, b)
	}
}
