package config

import (
	"fmt"
	"strings"

	"vswitchd/internal/config/key"
)

// Flags are the command-line flags that set configuration values. They add ports to those of the
// file and override the file's other values.
type Flags struct {
	Ports      []string // NAME or NAME=SOCKET
	Uplinks    []string // interfaces; the uplink has the same name
	Control    string   // path of the control socket; "": as in the file
	Metrics    string   // host:port; "": as in the file
	Status     string   // host:port; "": as in the file
	LogLevel   string   // "": as in the file
	LogFormat  string   // "": as in the file
	SocketPath string   // a port on this socket; "": none
	FD         int      // a port on this inherited socket; 0: none

	Accounts *key.Accounts // where names of users and groups are looked for that the system cannot be asked for; may be nil
}

// SinglePort is the name of the port that Flags.SocketPath or Flags.FD makes.
const SinglePort = "net0"

// Tables of the kinds of port that flags make.
const (
	guestTable  = "port"
	uplinkTable = "uplink"
)

// flags applies the flags to the configuration, with the same checks as for the file.
func (p *parser) flags(f Flags) {
	p.flag("--control", f.Control, "control", "socket")
	p.flag("--metrics", f.Metrics, "control", "metrics")
	p.flag("--status", f.Status, "control", "status")
	p.flag("--log-level", f.LogLevel, "log", "level")
	p.flag("--log-format", f.LogFormat, "log", "format")
	for _, arg := range f.Ports {
		name, path, hasSocket := strings.Cut(arg, "=")
		if hasSocket {
			p.portFlag("--port "+arg, guestTable, name, "socket", path)
		} else {
			p.portFlag("--port "+arg, guestTable, name, "", nil)
		}
	}
	for _, name := range f.Uplinks {
		p.portFlag("--uplink "+name, uplinkTable, name, "interface", name)
	}
	// The flags of the vhost-user back-end program conventions, with which QEMU or libvirt starts
	// one program for each device.
	switch {
	case f.FD != 0:
		p.portFlag(fmt.Sprintf("--fd %d", f.FD), guestTable, SinglePort, "fd", int64(f.FD))
	case f.SocketPath != "":
		p.portFlag("--socket-path "+f.SocketPath, guestTable, SinglePort, "socket", f.SocketPath)
	}
}

// flag sets a key of a table that occurs once, if the flag is given.
func (p *parser) flag(flag, value, table, name string) {
	if value == "" {
		return
	}
	for _, t := range p.cfg.tables() {
		if t.name != table {
			continue
		}
		t.where.set(name, Pos{File: flag + " " + value})
		if err := key.Find(t.keys, name).Set(value); err != nil {
			p.errs = append(p.errs, t.where.errorf(name, "%v", err))
		}
	}
}

// portFlag adds a port, with one of its keys set.
func (p *parser) portFlag(flag, table, port, name string, value any) {
	kind := p.kinds.ofTable(table)
	if kind == nil {
		p.errs = append(p.errs, Error{Pos: Pos{File: flag}, Msg: "there are no such ports"})
		return
	}
	q := newPort(kind, port, &p.cfg.Switch)
	q.where = where{path: table + "." + port, pos: Pos{File: flag}}
	p.resolveVLANs(q)
	if name != "" {
		q.where.set(name, q.where.pos)
		if err := key.Find(q.Keys(), name).Set(value); err != nil {
			p.errs = append(p.errs, q.Errorf(name, "%v", err))
			return
		}
	}
	p.addPort(q)
}

// single reports whether vswitchd was started for one device. There is then no default control
// socket, only one that the file or Control names.
func (f Flags) single() bool { return f.SocketPath != "" || f.FD != 0 }
