package config

import (
	"fmt"
	"strings"
)

// Flags are the command-line flags that say what the file could say. They
// add to the file's ports and uplinks, and override its other values.
type Flags struct {
	Ports      []string // NAME or NAME=SOCKET
	Uplinks    []string // interfaces; the uplink has the same name
	Control    string   // path of the control socket; "": as in the file
	Metrics    string   // host:port; "": as in the file
	LogLevel   string   // "": as in the file
	LogFormat  string   // "": as in the file
	SocketPath string   // a port on this socket; "": none
	FD         int      // a port on this inherited socket; 0: none
}

// SinglePort is the name of the port that Flags.SocketPath or Flags.FD makes.
const SinglePort = "net0"

// flags adds flags to the configuration, and checks them as if they stood in
// the file.
func (p *parser) flags(f Flags) {
	p.flag("--control", f.Control, "control.socket", socketPath(&p.cfg.Control.Socket))
	p.flag("--metrics", f.Metrics, "control.metrics", hostPort(&p.cfg.Control.Metrics))
	p.flag("--log-level", f.LogLevel, "log.level", oneOf(&p.cfg.Log.Level, logLevels...))
	if f.LogFormat != "" {
		format := ""
		p.flag("--log-format", f.LogFormat, "log.format", oneOf(&format, logFormats...))
		p.cfg.Log.JSON = format == "json"
	}
	for key, flag := range map[string][2]string{"socket": {"--control", f.Control}, "metrics": {"--metrics", f.Metrics}} {
		if flag[1] != "" {
			p.cfg.Control.where.keys[key] = Pos{File: flag[0] + " " + flag[1]}
		}
	}
	for _, arg := range f.Ports {
		p.portFlag(arg)
	}
	for _, arg := range f.Uplinks {
		p.uplinkFlag(arg)
	}
	p.singlePort(f)
}

func (p *parser) flag(flag, value, key string, set func(any) error) {
	if value == "" {
		return
	}
	if err := set(value); err != nil {
		p.errs = append(p.errs, Error{Pos{File: flag + " " + value}, key, err.Error()})
	}
}

func (p *parser) portFlag(arg string) {
	name, socket, hasSocket := strings.Cut(arg, "=")
	port := p.newPort(name)
	port.VLANMode = VLANTrunk
	port.where = where{path: "port." + name, pos: Pos{File: "--port " + arg}}
	if hasSocket {
		port.Socket = socket
	}
	p.addPort(port)
}

func (p *parser) uplinkFlag(arg string) {
	up := Uplink{Name: arg, Promiscuous: true, Bridging: defaultBridging()}
	up.VLANMode = VLANTrunk
	up.where = where{path: "uplink." + arg, pos: Pos{File: "--uplink " + arg}}
	if err := interfaceName(&up.Interface)(arg); err != nil {
		p.errs = append(p.errs, up.where.errorf("interface", "%v", err))
		return
	}
	p.addUplink(up)
}

// single reports whether vswitchd was started for one device. Then nobody
// expects a control socket, unless the file or Control names one.
func (f Flags) single() bool { return f.SocketPath != "" || f.FD != 0 }

// singlePort adds the port of the vhost-user convention for back-end programs,
// in which QEMU or libvirt starts one program for each device.
func (p *parser) singlePort(f Flags) {
	if !f.single() {
		return
	}
	port := p.newPort(SinglePort)
	port.VLANMode = VLANTrunk
	port.where = where{path: "port." + SinglePort}
	if f.FD != 0 {
		port.where.pos.File = fmt.Sprintf("--fd %d", f.FD)
		port.Socket, port.FD = "", f.FD
	} else {
		port.where.pos.File = "--socket-path " + f.SocketPath
		port.Socket = f.SocketPath
	}
	p.addPort(port)
}
