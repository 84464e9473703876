package vhostuser

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ProcessCapacity returns the resources that the machine and the process's resource limits
// allow now. (Package os has raised the soft limit of open files to the hard one when the
// process started.)
func ProcessCapacity() (Capacity, error) {
	space, err := addressSpaceSize()
	if err != nil {
		return Capacity{}, fmt.Errorf("size of the address space: %w", err)
	}
	as, err := limit(unix.RLIMIT_AS)
	if err != nil {
		return Capacity{}, fmt.Errorf("RLIMIT_AS: %w", err)
	}
	files, err := limit(unix.RLIMIT_NOFILE)
	if err != nil {
		return Capacity{}, fmt.Errorf("RLIMIT_NOFILE: %w", err)
	}
	maps, err := maxMapCount()
	if err != nil {
		return Capacity{}, fmt.Errorf("vm.max_map_count: %w", err)
	}
	return Capacity{AddressSpace: min(space, as), Mappings: maps, FileDescriptors: files}, nil
}

// limit returns a soft resource limit of the process.
func limit(resource int) (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(resource, &l); err != nil {
		return 0, err
	}
	return l.Cur, nil
}

// defaultMaxMapCount is the kernel's default of vm.max_map_count.
const defaultMaxMapCount = 65530

// maxMapCount returns how many mappings a process may have. Where /proc/sys is hidden, as in a
// sandboxed service, that is the kernel's default.
func maxMapCount() (uint64, error) {
	b, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if errors.Is(err, fs.ErrNotExist) {
		return defaultMaxMapCount, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// addressSpaceSize returns the size, in bytes, of the address space in which the kernel places new
// mappings: 2^47 on x86-64, 2^39 or 2^48 on arm64. New mappings are placed right below the stack,
// which is at the end.
func addressSpaceSize() (uint64, error) {
	page, err := unix.Mmap(-1, 0, pageSize, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return 0, err
	}
	n := bits.Len64(uint64(address(page)))
	if err := unix.Munmap(page); err != nil {
		return 0, err
	}
	if n >= 64 {
		return math.MaxUint64, nil
	}
	return 1 << n, nil
}

// nameFileLimit adds to an error the name of the limit of open files that was hit, if the
// error is due to one.
func nameFileLimit(err error) error {
	switch {
	case errors.Is(err, unix.EMFILE):
		n, lerr := limit(unix.RLIMIT_NOFILE)
		if lerr != nil {
			return err
		}
		return fmt.Errorf("%w: %w: this process may open %d, its RLIMIT_NOFILE (ulimit -n)", ErrLimit, err, n)
	case errors.Is(err, unix.ENFILE):
		return fmt.Errorf("%w: %w: sysctl fs.file-max limits the open files of the machine", ErrLimit, err)
	}
	return err
}
