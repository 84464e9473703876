package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vswitchd/internal/control"
	"vswitchd/internal/tomldoc"
	"vswitchd/internal/usage"
)

// Saving to the configuration file. vswitchctl does this, with the rights of the operator:
// vswitchd, whose peers are guests, need not be able to write its configuration.

// A newFile is the next contents of a file, written to another file in the same directory.
type newFile struct {
	path string   // of the file, without symbolic links
	lock *os.File // the file, which other vswitchctl that save wait for
	text []byte   // what the file has
	temp string   // "": the contents are the same, or the file has been replaced
	bad  error    // why a reload of the file is refused, before and after
}

// prepareFile edits the configuration file's text and writes the result next to the file. The
// result has been parsed and means what the edited document does, and vswitchd would load it,
// unless vswitchd would not have loaded the file before.
func (c *client) prepareFile(cmd *cobra.Command, info control.ConfigInfo, change edit) (f *newFile, err error) {
	if info.File == nil {
		return nil, errors.New("cannot save: vswitchd was started without a configuration file")
	}
	if info.File.Document == nil {
		return nil, fmt.Errorf("cannot save in %s, which is no TOML:\n%s", info.File.Path, info.File.Error)
	}
	if f, err = openFile(info.File.Path); err != nil {
		return nil, fmt.Errorf("cannot save in %s: %w", info.File.Path, usage.Reason(err))
	}
	defer func() {
		if err != nil {
			f.discard()
			f = nil
		}
	}()
	text, err := rewrite(f.text, change)
	if err != nil {
		return f, fmt.Errorf("cannot save in %s: %w", info.File.Path, err)
	}
	if bytes.Equal(text, f.text) {
		return f, nil
	}
	api := control.NewClient(c.socket)
	if _, f.bad = api.CheckConfig(cmd.Context(), string(text)); f.bad != nil {
		if _, before := api.CheckConfig(cmd.Context(), string(f.text)); before == nil {
			return f, fmt.Errorf("cannot save in %s: %w", info.File.Path, f.bad)
		}
	}
	if err = f.write(text); err != nil {
		return f, fmt.Errorf("cannot save in %s: %w", info.File.Path, err)
	}
	return f, nil
}

// rewrite applies a change to the text of a configuration.
func rewrite(text []byte, change edit) ([]byte, error) {
	doc, err := tomldoc.Parse(text)
	if err != nil {
		return nil, err
	}
	patch, err := change(doc)
	if err != nil {
		return nil, err
	}
	if err := patch.Apply(doc); err != nil {
		return nil, err
	}
	edited, err := tomldoc.Rewrite(text, doc)
	if errors.Is(err, tomldoc.ErrRewrite) {
		return nil, fmt.Errorf("%w\nwrite this by hand:\n%s", err, byHand(patch))
	}
	return edited, err
}

// byHand describes a patch for somebody who edits a file.
func byHand(patch tomldoc.Patch) string {
	var lines []string
	for _, e := range patch {
		line := keyPath(e.Path)
		switch e.Op {
		case "remove":
			line += ": remove"
		default:
			line += " = " + tomldoc.Literal(e.Value)
		}
		lines = append(lines, "  "+line)
	}
	return strings.Join(lines, "\n")
}

// openFile opens and locks a file, and reads it.
func openFile(name string) (*newFile, error) {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, err
	}
	for {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		same, err := lock(file, path)
		if err == nil && same {
			f := &newFile{path: path, lock: file}
			if f.text, err = io.ReadAll(file); err == nil {
				return f, nil
			}
		}
		file.Close()
		if err != nil {
			return nil, err
		}
	}
}

// lock waits until nobody else has locked a file, and reports whether the file still has its name.
func lock(file *os.File, path string) (same bool, err error) {
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return false, err
	}
	opened, err := file.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return os.SameFile(opened, there), nil
}

// write writes the next contents to a new file with the owner and the mode of the old one.
func (f *newFile) write(text []byte) error {
	info, err := f.lock.Stat()
	if err != nil {
		return err
	}
	dir, base := filepath.Split(f.path)
	temp, err := os.CreateTemp(dir, "."+base+".*")
	if err != nil {
		return fmt.Errorf("a file next to it: %w", usage.Reason(err))
	}
	f.temp = temp.Name()
	_, err = temp.Write(text)
	if old, ok := info.Sys().(*syscall.Stat_t); ok && err == nil {
		err = keepOwner(temp, old)
	}
	if err == nil {
		err = temp.Chmod(info.Mode().Perm())
	}
	if err == nil {
		err = temp.Sync()
	}
	return errors.Join(err, temp.Close())
}

// keepOwner gives a new file the owner and group of an old one, if they differ.
func keepOwner(temp *os.File, old *syscall.Stat_t) error {
	info, err := temp.Stat()
	if err != nil {
		return err
	}
	if now, ok := info.Sys().(*syscall.Stat_t); ok && now.Uid == old.Uid && now.Gid == old.Gid {
		return nil
	}
	if err := temp.Chown(int(old.Uid), int(old.Gid)); err != nil {
		return fmt.Errorf("the new file cannot have the owner of the old one: %w", usage.Reason(err))
	}
	return nil
}

// commit replaces the file, unless somebody has changed it since it was read.
func (f *newFile) commit() error {
	now, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, f.text) {
		return fmt.Errorf("%s has been changed meanwhile", f.path)
	}
	if f.temp == "" {
		return nil
	}
	if err := os.Rename(f.temp, f.path); err != nil {
		return err
	}
	f.temp = ""
	return syncDir(filepath.Dir(f.path))
}

// syncDir makes a rename in a directory last through a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// discard removes what has not become the file, and unlocks the file.
func (f *newFile) discard() {
	if f.temp != "" {
		os.Remove(f.temp)
		f.temp = ""
	}
	f.lock.Close()
}
