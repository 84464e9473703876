package uplink

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests need network interfaces to ruin, so the test binary runs itself once
// more in a network namespace of its own. The whole process is in there, the
// uplink's control goroutine included; nothing of the machine's network can be
// reached from it, and it goes away with the process, however that ends. A user
// who is not root gets a user namespace too, in which he is.
const inLab = "UPLINK_TEST_IN_NAMESPACE"

func TestMain(m *testing.M) {
	if os.Getenv(inLab) != "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that started the child
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inLab+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit):
		os.Exit(max(exit.ExitCode(), 1))
	}
	fmt.Fprintf(os.Stderr, "cannot make a network namespace for the tests: %v\n", err)
	os.Exit(1)
}
