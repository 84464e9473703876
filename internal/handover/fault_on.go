//go:build faults

package handover

import (
	"os"

	"golang.org/x/sys/unix"
)

// fault ends the process, as by kill -9, at the step that the environment variable VSWITCHD_FAULT
// names. It is only in binaries that are built with -tags faults, for tests.
func fault(step string) {
	if os.Getenv("VSWITCHD_FAULT") == step {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
}
