package compare

import (
	"errors"
	"fmt"

	"vswitchd/bench/load"
	"vswitchd/bench/peer"
)

// measureWired measures between a guest and the far end of the lab's wire.
func (b *bench) measureWired(s scenario, be peer.BackEnd) (v value, err error) {
	wire, err := b.lab.Wire()
	if err != nil {
		return v, err
	}
	far, err := wire.Far(s.guest.Offloads)
	if err != nil {
		return v, err
	}
	defer far.Close()
	s.guest.MaxFrame = max(s.traffic.Size, 1518)
	guest, end, err := peer.Guest(be, s.guest)
	if err != nil {
		return v, err
	}
	defer end()
	clocks, err := newClocks()
	if err != nil {
		return v, err
	}
	defer clocks.close()
	s.traffic.Waited = clocks.waited
	line, err := load.NewLine(guest, far, s.traffic, s.inbound)
	if err != nil {
		return v, err
	}
	idle, err := be.Work()
	if err != nil {
		return v, err
	}
	if err := line.Check(checked); errors.Is(err, load.ErrLate) {
		return v, fmt.Errorf("%w: %w", errBusy, err)
	} else if err != nil {
		return v, err
	}
	work, err := clocks.follow(be, idle)
	if err != nil {
		return v, err
	}
	// What the kernel does for the back-end runs before it, or a back-end that polls all the time
	// would starve itself.
	kernel, err := peer.SoftIRQ(backEndCPU)
	if err != nil {
		return v, err
	}
	priorities := undisturbed(work)
	priorities[kernel] = 2
	err = boosted(priorities, func() error {
		_, err := v.rate(line, be)
		return err
	})
	return v, err
}
