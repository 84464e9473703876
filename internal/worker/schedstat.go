package worker

import (
	"fmt"
	"os"
	"time"
)

// schedTimes returns for how long a thread of this process has run, and for how long it was ready
// to run and waited for a processor. The kernel counts both anyway, so that workers need not. Both
// are zero where the kernel does not tell (without CONFIG_SCHED_INFO).
func schedTimes(tid int) (ran, waited time.Duration) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/schedstat", tid))
	if err != nil {
		return 0, 0
	}
	return parseSchedstat(string(text))
}

// parseSchedstat reads the contents of /proc/PID/schedstat: nanoseconds of running and of waiting,
// and the number of time slices.
func parseSchedstat(text string) (ran, waited time.Duration) {
	var slices uint64
	if _, err := fmt.Sscan(text, &ran, &waited, &slices); err != nil {
		return 0, 0
	}
	return ran, waited
}
