package vhostusertest

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/virtqueue/virtqueuetest"
)

// Churn tests that a device follows [vhostuser.Device]'s rules for chains that it holds while the
// session changes something. It sends the device requests through a ring that has been started, and
// while the device is working on them, adds and removes guest memory, replaces the table of guest
// memory, replaces the eventfd for signals, disables and enables the ring, and stops and restarts
// it. Every request has to be returned exactly once.
//
// Build returns the buffers of a request, which it allocates from r.Driver or reuses for all
// requests. The device must not need anything else in order to answer. An error says after which
// change, in which round, which request was missing or was returned twice.
func Churn(f *FrontEnd, r *Ring, rounds int, build func() (readable, writable []virtqueuetest.Buf)) error {
	c := &churn{f: f, r: r, out: make(map[uint16]bool), timeout: Timeout}
	return c.run(rounds, build)
}

type churn struct {
	f       *FrontEnd
	r       *Ring
	out     map[uint16]bool // requests that the device holds
	spare   *Memory         // not in the front-end's table
	timeout time.Duration   // for a request
}

func (c *churn) run(rounds int, build func() (readable, writable []virtqueuetest.Buf)) (err error) {
	if c.spare, err = newMemory(vhostuser.MemRegion{
		GuestAddr: 0, UserAddr: FirstUserAddr - addrStep, Size: 1 << 20, // overlaps no other
	}, 0, 0); err != nil {
		return err
	}
	defer c.spare.close()
	changes := []struct {
		name string
		do   func() error
	}{
		{"a new eventfd for signals", c.newCall},
		{"the ring was stopped and restarted", c.restart},
		{"the ring was disabled and enabled", c.toggle},
		{"guest memory was added and removed", c.memory},
	}
	if c.f.Features&(1<<vhostuser.FeatureProtocolFeatures) == 0 {
		changes = changes[:2]
	}
	for round := range rounds {
		change := changes[round%len(changes)]
		if err := c.add(build); err != nil {
			return err
		}
		if err := change.do(); err != nil {
			return fmt.Errorf("round %d: %s: %w", round, change.name, err)
		}
		if err := c.collect(); err != nil {
			return fmt.Errorf("round %d: %s while the device was at work: %w", round, change.name, err)
		}
	}
	return nil
}

// add sends the device as many requests as there is room for.
func (c *churn) add(build func() (readable, writable []virtqueuetest.Buf)) error {
	for {
		head, err := c.r.Driver.AddChain(build())
		if err != nil {
			break
		}
		c.out[head] = true
	}
	if len(c.out) == 0 {
		return fmt.Errorf("a request does not fit into a ring of %d descriptors", c.r.Driver.Config().Size)
	}
	c.r.Driver.Publish()
	return c.r.Kick()
}

// collect waits until all requests have been returned.
func (c *churn) collect() error {
	for {
		head, _, ok := c.r.Driver.PollUsed()
		switch {
		case ok && !c.out[head]:
			return fmt.Errorf("request %d was returned, but the device did not hold it", head)
		case ok:
			delete(c.out, head)
			c.r.Driver.Release(head)
		case len(c.out) == 0:
			return nil
		case c.r.Driver.Arm():
		default:
			if err := WaitEventFD(c.r.CallFD, c.timeout); err != nil {
				return fmt.Errorf("%d requests have not been returned: %w", len(c.out), err)
			}
		}
	}
}

func (c *churn) newCall() error {
	fd, err := NewEventFD()
	if err != nil {
		return err
	}
	if err := c.f.Do(vhostuser.SetVringCall, vhostuser.VringFile{Index: uint8(c.r.Index)}.AppendTo(nil), fd); err != nil {
		_ = unix.Close(fd)
		return err
	}
	_ = unix.Close(c.r.CallFD)
	c.r.CallFD = fd
	return nil
}

func (c *churn) restart() error {
	base, err := c.f.StopRing(c.r)
	if err != nil {
		return err
	}
	return c.f.StartRingAt(c.r, base)
}

func (c *churn) toggle() error {
	if err := c.f.EnableRing(c.r, false); err != nil {
		return err
	}
	return c.f.EnableRing(c.r, true)
}

func (c *churn) memory() error {
	if !c.f.Has(vhostuser.ProtocolFeatureConfigureMemSlots) {
		if err := c.f.SetMemTable(append(c.f.Memory[:len(c.f.Memory):len(c.f.Memory)], c.spare)...); err != nil {
			return err
		}
		return c.f.SetMemTable(c.f.Memory...)
	}
	if err := c.f.AddMemory(c.spare); err != nil {
		return err
	}
	return c.f.RemoveMemory(c.spare)
}
