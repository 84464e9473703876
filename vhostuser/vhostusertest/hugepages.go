package vhostusertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
)

// HugePage is the size of a huge page in bytes.
const HugePage = 2 << 20

// NeedHugePages makes the machine keep n more huge pages until the test ends. Other tests that need
// huge pages wait. If the process may not change the number, the test is skipped.
func NeedHugePages(tb testing.TB, n int) {
	tb.Helper()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "vswitchd-test-hugepages.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { lock.Close() })
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		tb.Fatal(err)
	}
	const sysctl = "/proc/sys/vm/nr_hugepages"
	read := func() int {
		b, err := os.ReadFile(sysctl)
		if err != nil {
			tb.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			tb.Fatal(err)
		}
		return n
	}
	write := func(n int) error { return os.WriteFile(sysctl, []byte(strconv.Itoa(n)), 0) }
	before := read()
	if err := write(before + n); errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		tb.Skip("huge pages need root:", err)
	} else if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := write(before); err != nil {
			tb.Error(err)
		}
	})
	if got := read(); got < before+n {
		tb.Fatalf("the machine has %d huge pages, of %d that were asked for", got, before+n)
	}
}

// NewHugeMemory is NewMemory for n huge pages, which are absent. reserve says whether
// they are reserved.
func (f *FrontEnd) NewHugeMemory(n int, reserve bool) (*Memory, error) {
	fd, err := unix.MemfdCreate("guest memory", unix.MFD_CLOEXEC|unix.MFD_HUGETLB|unix.MFD_HUGE_2MB)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	at := uint64(len(f.Memory)) * addrStep
	m := &Memory{FD: fd, Region: vhostuser.MemRegion{GuestAddr: FirstGuestAddr + at, UserAddr: FirstUserAddr + at, Size: uint64(n) * HugePage}}
	if err := unix.Ftruncate(fd, int64(m.Region.Size)); err != nil {
		m.close()
		return nil, fmt.Errorf("ftruncate: %w", err)
	}
	flags := unix.MAP_SHARED
	if !reserve {
		flags |= unix.MAP_NORESERVE
	}
	if m.Bytes, err = unix.Mmap(fd, 0, int(m.Region.Size), unix.PROT_READ|unix.PROT_WRITE, flags); err != nil {
		m.close()
		return nil, fmt.Errorf("mmap: %w", err)
	}
	f.Memory = append(f.Memory, m)
	return m, nil
}

// HugePages returns the number of the memory's huge pages that are present.
func (m *Memory) HugePages() (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(m.FD, &st); err != nil {
		return 0, fmt.Errorf("memory file: %w", err)
	}
	return int(st.Blocks * 512 / HugePage), nil
}

// Punch removes all pages of the memory, whose file keeps its length: the next access to a page,
// here or in the back-end, finds it absent.
func (m *Memory) Punch() error {
	if err := unix.Fallocate(m.FD, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(m.Region.MmapOffset), int64(m.Region.Size)); err != nil {
		return fmt.Errorf("punching a hole: %w", err)
	}
	return nil
}
