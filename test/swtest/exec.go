package swtest

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vswitchd/test/vm"
)

// Program is the path of vswitchd.
func Program(t testing.TB) string {
	t.Helper()
	return built(t, "vswitchd")
}

// built is the path of a program of this module that make build has built.
func built(t testing.TB, program string) string {
	t.Helper()
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "build", program)
}

// Exec runs vswitchd with the given arguments in a namespace (nil: that of the test) until vswitchd
// ends by itself. A prefix is a command that runs vswitchd, such as setpriv.
func Exec(t testing.TB, netns *Netns, prefix []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := netns.Command("env", append(append(prefix, Program(t)), args...)...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}
