package main

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"vswitchd/internal/control"
	"vswitchd/internal/doctor"
)

// This file is what `doctor` sees of the machine without vswitchd: sockets, and processes that use
// them. What cannot be seen, for lack of privileges for example, is left out.

// observe looks at the sockets of guests' ports and of the control API, and at processes in proc.
// samePaths says that paths of vswitchd are valid here; if not, it may be in a container, and its
// sockets are not looked at.
func observe(proc, controlSocket string, ports []control.PortDetail, samePaths bool) *doctor.Host {
	h := &doctor.Host{Sockets: make(map[string]doctor.File)}
	h.ControlSocket, _ = lookAt(controlSocket)
	var paths []string
	for _, p := range ports {
		if p.Socket == "" {
			continue
		}
		paths = append(paths, p.Socket)
		if f, known := lookAt(p.Socket); known && samePaths {
			h.Sockets[p.Socket] = f
		}
	}
	h.Processes = processesNaming(proc, paths)
	return h
}

// lookAt describes a socket. known is false if the path cannot be looked at. A file that is no
// socket counts as none.
func lookAt(path string) (f doctor.File, known bool) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return doctor.File{}, true
	case err != nil:
		return doctor.File{}, false
	case info.Mode()&fs.ModeSocket == 0:
		return doctor.File{}, true
	}
	f = doctor.File{Exists: true, Mode: info.Mode()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		f.Owner = userName(st.Uid) + ":" + groupName(st.Gid)
	}
	return f, true
}

// userName and groupName return a name, or the number of what has none.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// processesNaming returns the processes whose command lines contain one of the paths.
func processesNaming(proc string, paths []string) (list []doctor.Process) {
	lines, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "cmdline"))
	if err != nil {
		return nil // of a malformed pattern only
	}
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err != nil || !slices.ContainsFunc(paths, func(path string) bool { return strings.Contains(string(text), path) }) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line))); err == nil {
			list = append(list, doctor.Process{PID: pid, Args: strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")})
		}
	}
	return list
}
