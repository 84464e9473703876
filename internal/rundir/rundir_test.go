package rundir_test

import (
	"os"
	"path/filepath"
	"testing"

	"vswitchd/internal/rundir"
)

// The error names a missing directory, and neither it nor its parents are created.
func TestMissingDirectory(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sockets", "file"} {
		var err error
		if name == "file" {
			err = os.WriteFile(filepath.Join(dir, name), nil, 0o600)
		} else {
			err = os.Mkdir(filepath.Join(dir, name), 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"a.sock":             "",
		"sockets/a.sock":     "",
		"sokcets/a.sock":     "there is no directory " + dir + "/sokcets; did you mean " + dir + "/sockets?",
		"other/a.sock":       "there is no directory " + dir + "/other",
		"sockets/b/c/a.sock": "there is no directory " + dir + "/sockets/b",
		"file/a.sock":        dir + "/file is not a directory",
		"file/b/a.sock":      dir + "/file is not a directory",
	} {
		for _, f := range []func(string) error{rundir.Check, rundir.Make} {
			got := ""
			if err := f(filepath.Join(dir, path)); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("made: %v, %v", left, err)
	}
}
