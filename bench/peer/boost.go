package peer

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Boost has a thread, if it has not ended, run whenever it wants to, before all ordinary ones and those of lesser
// priority, 1 being the least, until Relax. It must not take longer than what the kernel leaves
// to such threads, 0.95 s of each second.
func Boost(tid, priority int) error { return schedule(tid, unix.SCHED_RR, uint32(priority)) }

// Relax makes a thread an ordinary one again.
func Relax(tid int) error { return schedule(tid, unix.SCHED_NORMAL, 0) }

func schedule(tid int, policy, priority uint32) error {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority}
	if err := unix.SchedSetAttr(tid, attr, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("scheduling of thread %d: %w", tid, err)
	}
	return nil
}
