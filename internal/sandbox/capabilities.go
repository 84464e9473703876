package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// setNoNewPrivs makes execve(2) unable to grant privileges, which Landlock and seccomp require of a
// process without CAP_SYS_ADMIN.
func setNoNewPrivs() (detail string, err error) {
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return "", fmt.Errorf("prctl(PR_SET_NO_NEW_PRIVS): %w", errno)
	}
	return "", nil
}

// heldCapabilities returns the names of the process's permitted capabilities.
func heldCapabilities() (names []string) {
	set := cap.GetProc()
	for v := range cap.MaxBits() {
		if has, err := set.GetFlag(cap.Permitted, v); err == nil && has {
			names = append(names, strings.ToUpper(v.String()))
		}
	}
	return names
}

// dropCapabilities drops all capabilities but those to be kept, also from the bounding and the
// ambient set, as far as the process has CAP_SETPCAP.
func (c *Config) dropCapabilities() (detail string, err error) {
	had, keep := cap.GetProc(), cap.NewSet()
	var drop []cap.Value
	for v := range cap.MaxBits() {
		has, err := had.GetFlag(cap.Permitted, v)
		if err != nil {
			return "", fmt.Errorf("looking for %v: %w", v, err)
		}
		if !slices.Contains(c.Keep, strings.ToUpper(v.String())) {
			drop = append(drop, v)
			continue
		}
		if err := errors.Join(keep.SetFlag(cap.Permitted, has, v), keep.SetFlag(cap.Effective, has, v)); err != nil {
			return "", fmt.Errorf("keeping %v: %w", v, err)
		}
	}
	if may, _ := had.GetFlag(cap.Effective, cap.SETPCAP); may {
		if err := cap.DropBound(drop...); err != nil {
			return "", fmt.Errorf("dropping capabilities from the bounding set: %w", err)
		}
	}
	if err := cap.ResetAmbient(); err != nil {
		return "", fmt.Errorf("emptying the ambient set: %w", err)
	}
	if err := keep.SetProc(); err != nil {
		return "", fmt.Errorf("dropping capabilities: %w", err)
	}
	return "", nil
}
