package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Boost has a thread, if it has not ended, run whenever it wants to, before all ordinary ones and
// those of lesser priority, 1 being the least, until Relax. It must not take longer than what the
// kernel leaves to such threads, 0.95 s of each second.
func Boost(tid, priority int) error { return schedule(tid, unix.SCHED_RR, uint32(priority)) }

// Relax makes a thread an ordinary one again.
func Relax(tid int) error { return schedule(tid, unix.SCHED_NORMAL, 0) }

// SoftIRQ returns the kernel's thread that does a processor's soft interrupts when there are many
// of them.
func SoftIRQ(cpu int) (tid int, err error) {
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, err
	}
	name := fmt.Sprintf("ksoftirqd/%d\n", cpu)
	for _, c := range comms {
		if b, err := os.ReadFile(c); err == nil && string(b) == name {
			return strconv.Atoi(filepath.Base(filepath.Dir(c)))
		}
	}
	return 0, fmt.Errorf("processor %d has no thread for soft interrupts", cpu)
}

func schedule(tid int, policy, priority uint32) error {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority}
	if err := unix.SchedSetAttr(tid, attr, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("scheduling of thread %d: %w", tid, err)
	}
	return nil
}
