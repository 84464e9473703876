package vhostusertest

import (
	"os"
	"strings"
	"testing"
)

// OpenFiles returns how many file descriptors the process has open.
func OpenFiles(tb testing.TB) int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(entries)
}

// Mapped returns how many mappings the process has, on both sides, of files of memfd_create whose
// names begin with name. Those of Memory are called "guest memory".
func Mapped(tb testing.TB, name string) int {
	tb.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Count(string(maps), "/memfd:"+name)
}
