package swtest

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

const inPrivateNetns = "VSWITCHD_TEST_IN_NAMESPACE"

// RunInPrivateNetns is a TestMain for packages whose tests need network interfaces to ruin. The
// test binary runs itself once more in a new network namespace. The whole process is in there, with
// all its threads; nothing of the machine's network can be reached from it, and it goes away with
// the process, however that ends. A user who is not root gets a user namespace too, in which he is.
// RunInPrivateNetns does not return.
func RunInPrivateNetns(m *testing.M) {
	if os.Getenv(inPrivateNetns) != "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that started the child
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inPrivateNetns+"=1")
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
