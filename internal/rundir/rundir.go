// Package rundir creates and checks the directories of vswitchd's sockets. It creates only the
// default directory: any other missing directory is nearly always a mistyped name, and would be
// left behind if it were created.
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

// Default is the directory of sockets unless the configuration names another one. Make creates it
// with mode 0755, less the umask, if it is missing.
const Default = "/run/vswitchd"

// Make creates the directory of a socket if it is Default and missing. Any other directory must
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

// Check returns an error if Make would return one because of a missing directory. It creates
// nothing.
func Check(socket string) error {
	dir := filepath.Dir(socket)
	if err := exists(dir); err == nil || filepath.Clean(dir) != Default {
		return err
	}
	return exists(filepath.Dir(Default))
}

// CheckSocket checks that a socket can be made at path: the directory exists or can be created, and
// no file other than a socket is at path. It does not check whether the socket is in use.
func CheckSocket(path string) error {
	if err := Check(path); err != nil {
		return err
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	return nil
}

// exists returns nil if dir is a directory. Otherwise its error names the topmost missing
// directory.
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

// hint suggests an existing directory with a name similar to that of dir.
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
