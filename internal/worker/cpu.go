package worker

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// pin binds the calling thread to a CPU.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	err := unix.SchedSetaffinity(0, &set)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("there is no CPU %d, or vswitchd may not use it", cpu)
	}
	if err != nil {
		return fmt.Errorf("pinning to CPU %d: %w", cpu, err)
	}
	return nil
}

// CheckCPU returns the reason why no worker can be pinned to a CPU, or nil. It tries with a thread
// that ends with the call.
func CheckCPU(cpu int) error {
	tried := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so the runtime ends the thread
		tried <- pin(cpu)
	}()
	return <-tried
}
