package cgroup

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	_ "vswitchd/internal/platform/linux"
)

// Memory is the memory of the control group of the process, and of those around the group. The
// files are open, so that they can be read by a process that cannot open them any more.
type Memory struct{ groups []group }

// A group is a control group with its files memory.max and memory.current.
type group struct{ most, used *os.File }

// OpenMemory opens the groups that the process is in now. root is the root of the file system, "/"
// except for tests. Without control groups of version 2, or if the process is in none that can have
// a limit, there is nothing to open, which is no error.
func OpenMemory(root string) *Memory {
	m := &Memory{}
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(text)) {
		if path, is := strings.CutPrefix(strings.TrimSpace(line), "0::"); is {
			m.open(filepath.Join(root, "sys/fs/cgroup"), filepath.Clean("/"+path))
		}
	}
	return m
}

// open opens the group at path and all above.
func (m *Memory) open(mount, path string) {
	for ; ; path = filepath.Dir(path) {
		most, err := os.Open(filepath.Join(mount, path, "memory.max"))
		used, err2 := os.Open(filepath.Join(mount, path, "memory.current"))
		if errors.Join(err, err2) == nil {
			m.groups = append(m.groups, group{most, used})
		} else {
			_, _ = most.Close(), used.Close()
		}
		if path == "/" {
			return
		}
	}
}

// Tightest returns the limit to which the least is missing, in bytes, what is used of that, and the
// file that has the limit. ok is false if there is no limit.
func (m *Memory) Tightest() (used, limit uint64, file string, ok bool) {
	for _, g := range m.groups {
		most, err := number(g.most)
		n, err2 := number(g.used)
		if errors.Join(err, err2) != nil { // "max", or the group is gone
			continue
		}
		if !ok || most-min(n, most) < limit-min(used, limit) {
			used, limit, file, ok = n, most, g.most.Name(), true
		}
	}
	return used, limit, file, ok
}

// Close closes the files.
func (m *Memory) Close() {
	for _, g := range m.groups {
		_, _ = g.most.Close(), g.used.Close()
	}
}

// number reads a file that has a number.
func number(f *os.File) (uint64, error) {
	var buf [32]byte
	n, err := f.ReadAt(buf[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(buf[:n])), 10, 64)
}
