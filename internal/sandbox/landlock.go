package sandbox

import (
	"errors"
	"fmt"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// What the process itself needs, whatever the configuration: figures about itself and the limits of
// the kernel in /proc, and how many huge pages are reserved. Landlock keeps the process from
// looking at other processes there, in spite of the rule: their files need permission to trace
// them.
//
// Rules for directories further down in /proc would not last. A rule belongs to an inode, and
// procfs makes a new inode when it has forgotten the old one.
var always = []string{"/proc", "/sys/kernel/mm/hugepages"}

// Rights below a directory of Config.Write, and of Config.Edit.
const (
	rightsWrite = ll.AccessFSReadFile | ll.AccessFSReadDir | ll.AccessFSWriteFile | ll.AccessFSTruncate |
		ll.AccessFSMakeReg | ll.AccessFSMakeSock | ll.AccessFSRemoveFile
	rightsRead = ll.AccessFSReadFile | ll.AccessFSReadDir
	rightsEdit = ll.AccessFSWriteFile | ll.AccessFSTruncate
)

// landlock restricts access to files, and takes away TCP altogether: what listens, listens already.
func (c *Config) landlock() (detail string, err error) {
	abi, err := ll.LandlockGetABIVersion()
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return "", unavailable{errors.New("the kernel has no Landlock, or does not have it in lsm=")}
	case err != nil:
		return "", fmt.Errorf("asking for the version of Landlock: %w", err)
	}
	// The first use of the time zone reads its files.
	_, _ = time.Now().Zone()
	if err := pin(c.Edit); err != nil {
		return "", err
	}
	rules := []landlock.Rule{
		landlock.PathAccess(rightsRead, always...).IgnoreIfMissing(),
		landlock.PathAccess(rightsRead, c.Read...).IgnoreIfMissing(),
		landlock.PathAccess(rightsWrite, c.Write...).IgnoreIfMissing(),
		landlock.PathAccess(rightsEdit, c.Edit...).IgnoreIfMissing(),
	}
	if err := landlock.V5.BestEffort().Restrict(rules...); err != nil {
		return "", err
	}
	return fmt.Sprintf("ABI %d", abi), nil
}

// pin keeps the inodes of directories in /proc, to which rules belong, for as long as the process
// lives.
func pin(dirs []string) error {
	for _, dir := range dirs {
		if _, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("opening %s: %w", dir, err)
		}
	}
	return nil
}
