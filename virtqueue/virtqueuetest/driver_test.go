package virtqueuetest_test

import (
	"bytes"
	"testing"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// A chain of either kind goes to the device and comes back, with the bytes that the device wrote.
func TestRoundTrip(t *testing.T) {
	drv, err := virtqueuetest.NewLocal(8, 1<<virtqueue.FeatureIndirectDesc, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	q, err := virtqueue.New(drv.Memory(), drv.Config())
	if err != nil {
		t.Fatal(err)
	}
	type add func(readable, writable []virtqueuetest.Buf) (uint16, error)
	for name, add := range map[string]add{"direct": drv.AddChain, "indirect": drv.AddIndirect} {
		in, out := drv.Alloc(5), drv.Alloc(100)
		copy(drv.Bytes(in), "hello")
		head, err := add([]virtqueuetest.Buf{in}, []virtqueuetest.Buf{out})
		if err != nil {
			t.Fatal(name, err)
		}
		if !drv.Publish() {
			t.Fatal(name, "no kick wanted")
		}
		b := virtqueue.NewBatch(8)
		if n, err := q.Pop(b, 8); n != 1 || err != nil || b.Chains[0].Err != nil {
			t.Fatal(name, n, err, b.Chains)
		}
		n := copy(b.Chains[0].Writable[0], bytes.ToUpper(b.Chains[0].Readable[0]))
		q.Complete(&b.Chains[0], uint32(n))
		q.Flush()
		got, n32, ok := drv.PollUsed()
		if !ok || got != head || n32 != 5 || string(drv.Bytes(out)[:5]) != "HELLO" {
			t.Fatal(name, got, n32, ok, drv.Bytes(out)[:5])
		}
		drv.Release(head)
		drv.FreeBuf(in, out)
	}
	if drv.Free() != 8 {
		t.Fatal(drv.Free(), "of 8 descriptors are free")
	}
}

// More chains than descriptors are refused, and released descriptors can be used again.
func TestFull(t *testing.T) {
	drv, err := virtqueuetest.NewLocal(4, 0, 4096)
	if err != nil {
		t.Fatal(err)
	}
	b := drv.Alloc(16)
	three := []virtqueuetest.Buf{b, b, b}
	head, err := drv.AddChain(three, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := drv.AddChain(three, nil); err != virtqueuetest.ErrFull {
		t.Fatal(err)
	}
	drv.Release(head)
	for range 2 {
		head, err := drv.AddChain(nil, append(three, b))
		if err != nil {
			t.Fatal(err)
		}
		drv.Release(head)
	}
}
