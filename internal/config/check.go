package config

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"vswitchd/internal/nearest"
)

// crossCheck checks what cannot be seen in one table alone: names, sockets,
// interfaces and addresses that are there twice, and names that nothing has.
func (p *parser) crossCheck() {
	p.checkSockets()
	p.checkInterfaces()
	p.checkAddresses()
}

// addPort adds a port to the configuration if its name is good and new. Its
// other keys have been checked. A port with errors is added as well: others
// may refer to it.
func (p *parser) addPort(port Port) {
	p.checkName(port.Name, &port.where)
	p.cfg.Ports = append(p.cfg.Ports, port)
}

// addUplink is addPort for uplinks.
func (p *parser) addUplink(up Uplink) {
	p.checkName(up.Name, &up.where)
	p.cfg.Uplinks = append(p.cfg.Uplinks, up)
}

func (p *parser) checkName(name string, w *where) {
	if err := checkPortName(name); err != nil {
		p.errs = append(p.errs, w.errorf("", "%v", err))
		return
	}
	if first, ok := p.placeOf(name); ok {
		p.errs = append(p.errs, w.errorf("", "there is a port of this name already: %s in %s", first.path, first.pos))
	}
}

// placeOf returns where the port or uplink of that name is, if there is one.
func (p *parser) placeOf(name string) (where, bool) {
	for i := range p.cfg.Ports {
		if p.cfg.Ports[i].Name == name {
			return p.cfg.Ports[i].where, true
		}
	}
	for i := range p.cfg.Uplinks {
		if p.cfg.Uplinks[i].Name == name {
			return p.cfg.Uplinks[i].where, true
		}
	}
	return where{}, false
}

func (p *parser) checkSockets() {
	const control = "control.socket"
	users := map[string]string{}
	if s := p.cfg.Control.Socket; s != "" {
		users[absolute(s)] = control
	}
	for i := range p.cfg.Ports {
		port := &p.cfg.Ports[i]
		if port.FD != 0 {
			continue
		}
		if err := checkSocketPath(port.Socket); err != nil { // the default may be too long, too
			p.errs = append(p.errs, port.where.errorf("socket", "%v", err))
			continue
		}
		path := absolute(port.Socket)
		if other, ok := users[path]; ok {
			if other != port.where.path { // one defined twice has been reported
				p.errs = append(p.errs, port.where.errorf("socket", "%s is the socket of %s already", port.Socket, other))
			}
			continue
		}
		users[path] = port.where.path
	}
}

// absolute makes paths comparable: of several that lead to a socket's place, through links, it
// returns one. The socket need not exist. What cannot be resolved is compared as it is.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	return path
}

func (p *parser) checkInterfaces() {
	users := map[string]string{}
	for i := range p.cfg.Uplinks {
		up := &p.cfg.Uplinks[i]
		if up.Interface == "" { // reported as missing or bad
			continue
		}
		if other, ok := users[up.Interface]; ok && other != up.where.path {
			p.errs = append(p.errs, up.where.errorf("interface", "%s is the interface of %s already", up.Interface, other))
			continue
		}
		users[up.Interface] = up.where.path
	}
}

// checkAddresses checks that each address is in one place only in each VLAN: pinned ones of ports,
// and static entries.
func (p *parser) checkAddresses() {
	p.checkEntries()
	pins := map[string][]*Port{} // by address
	for i := range p.cfg.Ports {
		port := &p.cfg.Ports[i]
		if port.MAC == nil {
			continue
		}
		for _, other := range pins[port.MAC.String()] {
			if vlan, ok := common(&other.Bridging, &port.Bridging); ok {
				p.twice(&port.where, port.MAC, vlan, other.where.path)
				break
			}
		}
		pins[port.MAC.String()] = append(pins[port.MAC.String()], port)
	}
	entries := map[string]string{}
	for i := range p.cfg.FDB {
		e := &p.cfg.FDB[i]
		if e.MAC == nil {
			continue
		}
		id := fmt.Sprintf("%s/%d", e.MAC, e.VLAN)
		if other, ok := entries[id]; ok {
			p.twice(&e.where, e.MAC, e.VLAN, other)
			continue
		}
		entries[id] = e.where.path
		for _, port := range pins[e.MAC.String()] {
			if port.carries(e.VLAN) {
				p.twice(&e.where, e.MAC, e.VLAN, port.where.path)
				break
			}
		}
	}
}

func (p *parser) twice(w *where, addr net.HardwareAddr, vlan uint16, other string) {
	p.errs = append(p.errs, w.errorf("mac", "%s in VLAN %d is there already, in %s", addr, vlan, other))
}

// common returns a VLAN that two ports are in.
func common(a, b *Bridging) (uint16, bool) {
	for vlan := range uint16(4096) {
		if a.carries(vlan) && b.carries(vlan) {
			return vlan, true
		}
	}
	return 0, false
}

// checkEntries gives static entries that name no VLAN that of their port, and warns of those that
// can never match.
func (p *parser) checkEntries() {
	for i := range p.cfg.FDB {
		e := &p.cfg.FDB[i]
		b := p.bridging(e.Port)
		if b == nil {
			if e.Port != "" {
				p.errs = append(p.errs, e.where.errorf("port", "there is no port or uplink %q%s", e.Port, nearest.Hint(e.Port, p.portNames())))
			}
			continue
		}
		_, named := e.where.keys["vlan"]
		if !named {
			e.VLAN = b.Tag
		}
		if b.carries(e.VLAN) {
			continue
		}
		msg := fmt.Sprintf("the entry never matches: %s is not in VLAN %d", e.Port, e.VLAN)
		if !named {
			msg += ", in which it is because it names none"
		}
		p.cfg.Warnings = append(p.cfg.Warnings, e.where.errorf("vlan", "%s", msg))
	}
}

// portNames returns the names of all ports and uplinks.
func (p *parser) portNames() (names []string) {
	for i := range p.cfg.Ports {
		names = append(names, p.cfg.Ports[i].Name)
	}
	for i := range p.cfg.Uplinks {
		names = append(names, p.cfg.Uplinks[i].Name)
	}
	return names
}

// bridging returns how the port or uplink of that name is bridged, or nil if there is none.
func (p *parser) bridging(name string) *Bridging {
	for i := range p.cfg.Ports {
		if p.cfg.Ports[i].Name == name {
			return &p.cfg.Ports[i].Bridging
		}
	}
	for i := range p.cfg.Uplinks {
		if p.cfg.Uplinks[i].Name == name {
			return &p.cfg.Uplinks[i].Bridging
		}
	}
	return nil
}

// checkHost looks for the uplinks' interfaces. Names are looked up in the kernel, since an interface
// may have several.
func (c *Config) checkHost() (warnings Errors) {
	users := map[int]string{} // by index
	for i := range c.Uplinks {
		up := &c.Uplinks[i]
		var missing netlink.LinkNotFoundError
		l, err := netlink.LinkByName(up.Interface)
		switch {
		case errors.As(err, &missing):
			warnings = append(warnings, up.where.errorf("interface",
				"there is no network interface %q now, the uplink will wait for it", up.Interface))
		case err != nil:
			warnings = append(warnings, up.where.errorf("interface", "cannot look at network interface %q: %v", up.Interface, err))
		case users[l.Attrs().Index] != "":
			warnings = append(warnings, up.where.errorf("interface",
				"%s is the interface of %s already, under another name; the uplink will wait until that lets go of it",
				up.Interface, users[l.Attrs().Index]))
		default:
			users[l.Attrs().Index] = up.where.path
		}
	}
	return warnings
}
