package unixsock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Access determines who may connect to a socket: owner and permissions of the socket's file.
type Access struct {
	UID, GID int         // -1: unchanged; for a new file, the process's
	Mode     fs.FileMode // permission bits
}

var (
	// errReplaced: the file at the socket's path is not the one that Listen made.
	errReplaced = errors.New("is not the socket that was made here")
	errAdopted  = errors.New("the socket was passed in")
)

// SetAccess changes who may connect and returns the previous Access, with which the caller can undo
// the change. After an error the access is unchanged.
func (l *Listener) SetAccess(a Access) (was Access, err error) {
	if err := l.isOurs(); err != nil {
		return Access{}, err
	}
	st, err := stat(l.path)
	if err != nil {
		return Access{}, fmt.Errorf("%s: %w", l.path, err)
	}
	was = Access{UID: int(st.Uid), GID: int(st.Gid), Mode: fs.FileMode(st.Mode).Perm()}
	if err := admit(l.path, a); err != nil {
		_ = admit(l.path, was)
		return Access{}, fmt.Errorf("%s: %w", l.path, err)
	}
	return was, nil
}

// admit sets owner and permissions of a socket's file.
func admit(path string, a Access) error {
	if a.UID >= 0 || a.GID >= 0 {
		if err := os.Lchown(path, a.UID, a.GID); err != nil {
			return fmt.Errorf("chown: %w", reason(err))
		}
	}
	if err := os.Chmod(path, a.Mode.Perm()); err != nil {
		return fmt.Errorf("chmod: %w", reason(err))
	}
	return nil
}

// isOurs returns an error if the file at the socket's path is not the one that Listen made.
func (l *Listener) isOurs() error {
	if l.path == "" {
		return errAdopted
	}
	st, err := stat(l.path)
	if err == nil && idOf(st) != l.made {
		err = errReplaced
	}
	if err != nil {
		return fmt.Errorf("%s: %w", l.path, err)
	}
	return nil
}

func stat(path string) (st unix.Stat_t, err error) {
	err = unix.Lstat(path, &st)
	return st, err
}

func idOf(st unix.Stat_t) fileID { return fileID{st.Dev, st.Ino} }

// reason strips the path from an error of package os, because callers add the path themselves.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
