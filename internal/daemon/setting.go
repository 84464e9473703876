package daemon

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"slices"

	"vswitchd/internal/config"
	vswitch "vswitchd/switch"
)

// A setting is a port of either kind, as configured.
type setting struct {
	name   string
	guest  *config.Port
	uplink *config.Uplink
}

// settings returns all ports of a configuration, in the order in which they are shown.
func settings(cfg *config.Config) []setting {
	var list []setting
	for i := range cfg.Uplinks {
		list = append(list, setting{name: cfg.Uplinks[i].Name, uplink: &cfg.Uplinks[i]})
	}
	for i := range cfg.Ports {
		list = append(list, setting{name: cfg.Ports[i].Name, guest: &cfg.Ports[i]})
	}
	return list
}

// place is what the port leads to, and no other port does: a socket, an interface. That makes it the
// same port, whatever its name.
func (s setting) place() string {
	switch {
	case s.uplink != nil:
		return "interface " + s.uplink.Interface
	case s.guest.FD != 0:
		return fmt.Sprintf("file descriptor %d", s.guest.FD)
	}
	return "socket " + resolve(s.guest.Socket)
}

// resolve returns the one of several paths that lead to a file's place. The file need not exist.
func resolve(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// key names a key of the port as the configuration does.
func (s setting) key(name string) string {
	if s.uplink != nil {
		return "uplink." + s.name + "." + name
	}
	return "port." + s.name + "." + name
}

// at returns where a key was set, or where the port begins.
func (s setting) at(name string) config.Pos {
	if s.uplink != nil {
		return s.uplink.At(name)
	}
	return s.guest.At(name)
}

// mac is the address that is pinned to the port; nil: none.
func (s setting) mac() net.HardwareAddr {
	if s.guest == nil {
		return nil
	}
	return s.guest.MAC
}

func (s setting) bridging() *config.Bridging {
	if s.guest == nil {
		return &s.uplink.Bridging
	}
	return &s.guest.Bridging
}

// portConfig is what the switch is told about the port.
func (s setting) portConfig(c *vswitch.Counters) vswitch.PortConfig {
	return bridging(s.name, s.mac(), s.bridging(), c)
}

// bridged reports whether two settings are bridged alike.
func (s setting) bridged(o setting) bool {
	return s.bridging().Equal(o.bridging()) && bytes.Equal(s.mac(), o.mac())
}

// differences returns what to tell the operator of a port that was o and is s now.
func (s setting) differences(o setting) (lines []string) {
	say := func(same bool, format string, args ...any) {
		if !same {
			lines = append(lines, fmt.Sprintf("port "+s.name+" "+format, args...))
		}
	}
	if o.name != s.name {
		lines = append(lines, "port "+o.name+" renamed to "+s.name)
	}
	say(s.bridged(o), "reconfigured")
	if s.uplink != nil {
		say(s.uplink.Interface == o.uplink.Interface, "moved to interface %s", s.uplink.Interface)
		say(s.uplink.Promiscuous == o.uplink.Promiscuous, "opened again, as promiscuous has changed")
		return lines
	}
	g, was := s.guest, o.guest
	switch {
	case g.Mode != was.Mode && g.Mode == config.ModeClient:
		lines = append(lines, fmt.Sprintf("port %s connects to %s for the next front-end", s.name, g.Socket))
	case g.Mode != was.Mode || resolve(g.Socket) != resolve(was.Socket):
		lines = append(lines, fmt.Sprintf("port %s takes the next front-end from %s", s.name, g.Socket))
	default:
		say(g.Mode == config.ModeClient || g.Access == was.Access, "has another owner or mode of its socket")
	}
	say(g.MaxMemory == was.MaxMemory, "has another max_memory, for what is mapped from now on")
	const next = "to the next front-end that connects"
	say(g.Queues == was.Queues, "will offer another number of queue pairs, %d, %s", g.Queues, next)
	say(g.MTU == was.MTU, "will offer another MTU %s", next)
	say(slices.Equal(g.Offloads, was.Offloads), "will offer other offloads %s", next)
	return lines
}
