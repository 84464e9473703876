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
	release, err := MoreHugePages(n)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		tb.Skip("huge pages need root:", err)
	} else if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := release(); err != nil {
			tb.Error(err)
		}
	})
}

// nrHugePages contains how many huge pages of 2 MiB the machine keeps.
const nrHugePages = "/proc/sys/vm/nr_hugepages"

// MoreHugePages makes the machine keep n more huge pages until release is called. The caller sees
// to it that nobody else changes their number meanwhile.
func MoreHugePages(n int) (release func() error, err error) {
	before, err := keptHugePages()
	if err != nil {
		return nil, err
	}
	if err := keepHugePages(before + n); err != nil {
		return nil, err
	}
	release = func() error { return keepHugePages(before) }
	got, err := keptHugePages()
	if err == nil && got < before+n {
		err = fmt.Errorf("the machine has %d more huge pages, of %d that were asked for: too little free memory?", got-before, n)
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

func keptHugePages() (int, error) {
	b, err := os.ReadFile(nrHugePages)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func keepHugePages(n int) error { return os.WriteFile(nrHugePages, []byte(strconv.Itoa(n)), 0) }

// NewHugeMemory is NewMemory for n huge pages, which are absent. reserve says whether
// they are reserved.
func (f *FrontEnd) NewHugeMemory(n int, reserve bool) (*Memory, error) {
	mapFlags := 0
	if !reserve {
		mapFlags = unix.MAP_NORESERVE
	}
	return f.addMemory(n*HugePage, unix.MFD_HUGETLB|unix.MFD_HUGE_2MB, mapFlags)
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
