package vhostuser

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// memfd returns a file of size bytes in tmpfs or, with MFD_HUGETLB, hugetlbfs.
func memfd(t *testing.T, size int64, flags int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("mapping test", unix.MFD_CLOEXEC|flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Ftruncate(fd, size); err != nil {
		t.Fatal(err)
	}
	return fd
}

// mapped returns how many bytes of memfd's files are mapped, according to /proc/self/maps.
func mapped(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "mapping test")
}

// Core dumps do not contain guest memory: dd is among the flags of its mapping (proc_pid_smaps(5)).
func TestCoreDumpsOmitGuestMemory(t *testing.T) {
	m, err := mapRegion(nil, 0, memfd(t, 64<<10, 0), MemRegion{Size: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer m.unmap()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, entry, found := strings.Cut(string(smaps), "mapping test")
	_, flags, _ := strings.Cut(entry, "VmFlags:")
	if flags, _, _ = strings.Cut(flags, "\n"); !found || !strings.Contains(flags+" ", " dd ") {
		t.Errorf("the flags of the mapping are %q", flags)
	}
}

func TestMappingIsTheRegion(t *testing.T) {
	fd := memfd(t, 64<<10, 0)
	pattern := make([]byte, 64<<10)
	for i := range pattern {
		pattern[i] = byte(i >> 8)
	}
	if _, err := unix.Pwrite(fd, pattern, 0); err != nil {
		t.Fatal(err)
	}
	for _, r := range []MemRegion{
		{Size: 64 << 10},
		{Size: 4096, MmapOffset: 60 << 10},
		{Size: 512, MmapOffset: 5000},
		{Size: 10000, MmapOffset: 4095},
	} {
		m, err := mapRegion(nil, 0, fd, r)
		if err != nil {
			t.Fatal(err)
		}
		if want := pattern[r.MmapOffset : r.MmapOffset+r.Size]; string(m.mem) != string(want) {
			t.Errorf("region %+v is mapped at the wrong place", r)
		}
		m.unmap()
	}
	if n := mapped(t); n != 0 {
		t.Errorf("%d mappings are left", n)
	}
}

// No huge page is touched, so none need to be available.
func TestMappingOfHugePages(t *testing.T) {
	const huge = 2 << 20
	fd := memfd(t, 4*huge, unix.MFD_HUGETLB|unix.MFD_HUGE_2MB)
	for _, r := range []MemRegion{
		{Size: 4 * huge},
		{Size: huge, MmapOffset: 3 * huge},
		{Size: 640 << 10},                            // guest memory below 1 MiB
		{Size: huge, MmapOffset: 768 << 10},          // across two huge pages
		{Size: huge + 4096, MmapOffset: huge - 4096}, // across three
	} {
		m, err := mapRegion(nil, 0, fd, r)
		if err != nil {
			t.Errorf("region %+v: %v", r, err)
			continue
		}
		if uint64(len(m.mem)) != r.Size || len(m.all)%huge != 0 {
			t.Errorf("region %+v: %d bytes in a mapping of %d", r, len(m.mem), len(m.all))
		}
		m.unmap()
	}
	if n := mapped(t); n != 0 {
		t.Errorf("%d mappings are left", n)
	}
	if _, err := mapRegion(nil, 0, fd, MemRegion{Size: huge, MmapOffset: 3*huge + 1}); !errors.Is(err, ErrRefused) {
		t.Errorf("beyond the file: %v", err)
	}
}

// Once a mapping is unmapped, no page is provided at its addresses, and the service keeps nothing
// of the mapping. A page that was requested before is no failure.
func TestUnmappedHugePagesAreNotProvided(t *testing.T) {
	const huge = 2 << 20
	s, err := newPageService(func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	s.running = true // no goroutine takes mappings from the list
	var all []*watchedPages
	for range 3 {
		m, err := mapRegion(nil, 0, memfd(t, 4*huge, unix.MFD_HUGETLB|unix.MFD_HUGE_2MB), MemRegion{Size: 4 * huge})
		if err == nil {
			err = s.watch(&m)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m.pages)
		m.unmap()
	}
	for _, p := range all {
		if err := p.provide(1); err != errClosed {
			t.Errorf("providing a page: %v", err)
		}
		if err := p.one(1); err != nil {
			t.Errorf("a page that was requested: %v", err)
		}
	}
	if n := len(s.waiting); n != 0 {
		t.Errorf("%d mappings are waiting", n)
	}
	s.close()
	if n := mapped(t); n != 0 {
		t.Errorf("%d mappings are left", n)
	}
}

func TestMemoryOfSlowFileSystemsIsRefused(t *testing.T) {
	f, err := os.Open("/proc/self/cmdline") // in a file system not known to be local
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if _, err := mapAlignment(nil, int(f.Fd()), &st); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want a refusal", err)
	}
	dir, err := os.Open("/dev/shm")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := mapRegion(nil, 0, int(dir.Fd()), MemRegion{Size: 1}); !errors.Is(err, ErrRefused) {
		t.Errorf("a directory: %v", err)
	}
}

func TestRegionsThatNoFileAndNoGuestCanHave(t *testing.T) {
	good := MemRegion{GuestAddr: 1 << 32, UserAddr: 1 << 46, Size: 1 << 20, MmapOffset: 1 << 30}
	if err := checkRegion(good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(r *MemRegion){
		"empty":                  func(r *MemRegion) { r.Size = 0 },
		"guest address wraps":    func(r *MemRegion) { r.GuestAddr = 1<<64 - 1<<20 + 1 },
		"user address wraps":     func(r *MemRegion) { r.UserAddr = 1<<64 - 1<<20 + 1 },
		"offset is negative":     func(r *MemRegion) { r.MmapOffset = 1 << 63 },
		"offset+size wraps":      func(r *MemRegion) { r.MmapOffset = 1<<64 - 1<<20 },
		"end is beyond a file's": func(r *MemRegion) { r.MmapOffset = 1<<63 - 1<<20 },
	} {
		r := good
		change(&r)
		if err := checkRegion(r); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
}

// Memory on a disk makes workers wait: it is accepted only where the operator allows it.
func TestMemoryOnADisk(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "memory")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		t.Fatal(err)
	}
	was := memoryFS
	defer func() { memoryFS = was }()
	memoryFS = map[uint32]struct{ disk bool }{uint32(fs.Type): {disk: true}} // the test directory's
	if err := f.Truncate(64 << 10); err != nil {
		t.Fatal(err)
	}
	pool := NewPool(Capacity{AddressSpace: 1 << 40, Mappings: 1000, FileDescriptors: 1000})
	limits := Limits{Memory: 1 << 30, DiskMemoryName: "disk_memory", Vrings: 2}
	region := MemRegion{Size: 64 << 10}
	_, err = mapRegion(pool.Open(limits), 0, int(f.Fd()), region)
	refused(t, err, "disk_memory")
	limits.DiskMemory = true
	m, err := mapRegion(pool.Open(limits), 0, int(f.Fd()), region)
	if err != nil {
		t.Fatal(err)
	}
	m.unmap()
	account := pool.Open(Limits{Memory: 1 << 30, Vrings: 2})
	account.SetMemory(1<<30, true)
	m, err = mapRegion(account, 0, int(f.Fd()), region)
	if err != nil {
		t.Fatal(err)
	}
	m.unmap()
}
