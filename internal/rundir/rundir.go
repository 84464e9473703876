// Package rundir knows which directory vswitchd makes for its sockets, and which it does not make:
// a directory that is not there is nearly always a name that was mistyped, and would be left
// behind.
package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"vswitchd/internal/nearest"
	_ "vswitchd/internal/platform/linux"
)

// Default is where sockets are unless the configuration says otherwise. It is made if it is
// missing: mode 0755, less the umask.
const Default = "/run/vswitchd"

// Make makes the directory of a socket if it is Default and missing. Any other directory has to
// exist.
func Make(socket string) error {
	dir := filepath.Dir(socket)
	if filepath.Clean(dir) == Default {
		if err := os.Mkdir(Default, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making the directory of sockets: %w", err)
		}
	}
	return exists(dir)
}

// Check returns an error if Make would return one, but makes nothing.
func Check(socket string) error {
	dir := filepath.Dir(socket)
	if err := exists(dir); err == nil || filepath.Clean(dir) != Default {
		return err
	}
	return exists(filepath.Dir(Default))
}

// CheckSocket checks that a socket can be made, unless somebody has it.
func CheckSocket(path string) error {
	if err := Check(path); err != nil {
		return err
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	return nil
}

// exists returns an error that names the directory which is missing.
func exists(dir string) error {
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if parent := filepath.Dir(dir); parent != dir {
			if err := exists(parent); err != nil {
				return err
			}
		}
		return fmt.Errorf("there is no directory %s%s", dir, hint(dir))
	case errors.Is(err, unix.ENOTDIR):
		return exists(filepath.Dir(dir))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("directory %s: permission denied", dir)
	case err != nil:
		return fmt.Errorf("directory %s: %w", dir, errors.Unwrap(err))
	case !fi.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	return nil
}

// hint names a directory that is there and that may have been meant.
func hint(dir string) string {
	parent, name := filepath.Split(dir)
	entries, err := os.ReadDir(filepath.Clean(parent))
	if err != nil {
		return ""
	}
	var there []string
	for _, e := range entries {
		if e.IsDir() {
			there = append(there, e.Name())
		}
	}
	if parent == "/run/" {
		there = append(there, filepath.Base(Default))
	}
	if s := nearest.Of(name, there); s != "" {
		return fmt.Sprintf("; did you mean %s?", filepath.Join(parent, s))
	}
	return ""
}
