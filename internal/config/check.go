package config

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"

	"vswitchd/internal/config/key"
	"vswitchd/internal/nearest"
	vswitch "vswitchd/switch"
)

// crossCheck checks the conditions between several tables: duplicate places and addresses, and
// references to ports that do not exist.
func (p *parser) crossCheck() {
	p.checkPlaces()
	p.checkStatus()
	p.checkSandbox()
	p.checkAddresses()
	p.checkNeighbors()
	p.checkMembers()
	p.checkQuerier()
	p.checkEffects()
}

// addPort adds a port to the configuration, and checks that its name is valid and unique and that
// no required key is missing. The values of its keys have been checked. A port with errors is added
// as well, because other tables may refer to it.
func (p *parser) addPort(port *Port) {
	if err := checkPortName(port.Name); err != nil {
		p.errs = append(p.errs, port.Errorf("", "%v", err))
	} else if first := p.portNamed(port.Name); first != nil {
		p.errs = append(p.errs, port.Errorf("", "there is a port of this name already: %s in %s", first.where.path, first.where.pos))
	}
	p.cfg.Ports = append(p.cfg.Ports, port)
	for _, k := range port.Keys() {
		if k.Required && !port.where.has(k.Name) {
			p.errs = append(p.errs, port.Errorf(k.Name, "is missing"))
		}
	}
}

// portNamed returns the first port with the given name, or nil.
func (p *parser) portNamed(name string) *Port {
	i := slices.IndexFunc(p.cfg.Ports, func(q *Port) bool { return q.Name == name })
	if i < 0 {
		return nil
	}
	return p.cfg.Ports[i]
}

var portName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func checkPortName(s string) error {
	switch {
	case s == "":
		return errors.New("the name is empty")
	case len(s) > key.MaxName:
		return fmt.Errorf("the name is %d characters long, at most %d are possible", len(s), key.MaxName)
	case !portName.MatchString(s):
		return fmt.Errorf("the name %q must consist of letters, digits and . _ -", s)
	case s == "." || s == "..":
		return fmt.Errorf("%q is no name", s)
	}
	return nil
}

// checkStatus checks that the status page, for which nobody has to identify himself, is shown to
// other machines only if that was intended.
func (p *parser) checkStatus() {
	c := &p.cfg.Control
	host, _, err := net.SplitHostPort(c.Status)
	if err != nil || host == "localhost" || len(c.StatusHosts) > 0 {
		return
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		p.errs = append(p.errs, c.where.errorf("status", "other machines can reach %s: set status_hosts to the names that their browsers use, if they are to", c.Status))
	}
}

// checkPlaces checks that no two ports have the same socket or interface, and that no port has the
// control socket.
func (p *parser) checkPlaces() {
	users := map[string]string{}
	if s := p.cfg.Control.Socket; s != "" {
		users[SocketPlace("", s).String()] = "control.socket"
	}
	for _, port := range p.cfg.Ports {
		place := port.Place()
		if place.Name == "" { // reported as missing or bad
			continue
		}
		if place.Is == socket {
			if err := key.CheckSocketPath(place.Name); err != nil { // the default may be too long
				p.errs = append(p.errs, port.Errorf(place.Key, "%v", err))
				continue
			}
		}
		if other, ok := users[place.String()]; ok {
			if other != port.where.path { // one defined twice has been reported
				p.errs = append(p.errs, port.Errorf(place.Key, "%s is the %s of %s already", place.Name, place.Is, other))
			}
			continue
		}
		users[place.String()] = port.where.path
	}
}

const socket = "socket"

// SocketPlace returns the Place of a socket. key is the name of the key that configures the path.
func SocketPlace(key, path string) Place { return Place{key, socket, path, absolute(path)} }

// absolute canonicalises the path of a socket, so that paths can be compared: it resolves symbolic
// links in the directory. The socket need not exist. A path that cannot be resolved is returned as
// an absolute path, with its links.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// checkAddresses checks that no address is assigned twice in one VLAN, by the pinned addresses of
// ports and by static entries.
func (p *parser) checkAddresses() {
	p.checkEntries()
	pins := map[vswitch.MAC][]*Port{}
	for _, port := range p.cfg.Ports {
		for _, mac := range port.MACs {
			for _, other := range pins[mac] {
				if vlan, ok := common(&other.PortConfig, &port.PortConfig); ok {
					p.twice(&port.where, mac, place{vlan: vlan}.String(), other.where.path)
					break
				}
			}
			pins[mac] = append(pins[mac], port)
		}
	}
	entries := map[place]string{}
	for i := range p.cfg.FDB {
		e := &p.cfg.FDB[i]
		if e.MAC == (vswitch.MAC{}) { // reported as missing or bad
			continue
		}
		at := place{e.MAC, e.VLAN, e.All}
		if other, ok := entries[at]; ok {
			p.twice(&e.where, e.MAC, at.String(), other)
			continue
		}
		entries[at] = e.where.path
		for _, port := range pins[e.MAC] {
			if e.All || carries(&port.PortConfig, e.VLAN) {
				p.twice(&e.where, e.MAC, at.String(), port.where.path)
				break
			}
		}
	}
}

// A place is where an address can be only once.
type place struct {
	mac  vswitch.MAC
	vlan uint16
	all  bool
}

// String returns the VLANs of the place.
func (p place) String() string {
	if p.all {
		return "every VLAN"
	}
	return fmt.Sprintf("VLAN %d", p.vlan)
}

func (p *parser) twice(w *where, addr vswitch.MAC, vlans, other string) {
	p.errs = append(p.errs, w.errorf("mac", "%s in %s is there already, in %s", addr, vlans, other))
}

// carries reports whether a port is in a VLAN.
func carries(p *vswitch.PortConfig, vlan uint16) bool {
	switch p.VLANMode {
	case vswitch.VLANAccess, vswitch.VLANTunnel:
		return vlan == p.Tag
	case vswitch.VLANNativeTagged, vswitch.VLANNativeUntagged:
		return vlan == p.Tag || vlan != 0 && (len(p.Trunks) == 0 || slices.Contains(p.Trunks, vlan))
	}
	return len(p.Trunks) == 0 || slices.Contains(p.Trunks, vlan)
}

// common returns a VLAN that two ports are in.
func common(a, b *vswitch.PortConfig) (uint16, bool) {
	for vlan := range uint16(4096) {
		if carries(a, vlan) && carries(b, vlan) {
			return vlan, true
		}
	}
	return 0, false
}

// checkEntries reports missing and contradictory keys and unknown ports of static entries, sets the
// VLAN of entries that name none to that of their port's untagged frames, and warns about entries
// that can never match.
func (p *parser) checkEntries() {
	for i := range p.cfg.FDB {
		e := &p.cfg.FDB[i]
		for _, k := range e.keys() {
			if k.Required && !e.where.has(k.Name) {
				p.errs = append(p.errs, e.Errorf(k.Name, "is missing"))
			}
		}
		p.setKind(e)
		if e.blackhole {
			continue
		}
		port := p.portNamed(e.Port)
		if port == nil {
			if e.Port != "" {
				p.errs = append(p.errs, e.Errorf("port", "there is no port or uplink %q%s", e.Port, nearest.Hint(e.Port, p.portNames())))
			}
			continue
		}
		named := e.where.has("vlan")
		if !named {
			e.VLAN = port.Tag
		}
		if carries(&port.PortConfig, e.VLAN) {
			continue
		}
		msg := fmt.Sprintf("the entry never matches: %s is not in VLAN %d", e.Port, e.VLAN)
		if !named {
			msg += ", the default for entries without a VLAN"
		}
		p.cfg.Warnings = append(p.cfg.Warnings, e.Errorf("vlan", "%s", msg))
	}
}

// setKind sets the kind of an entry, and reports keys that contradict that.
func (p *parser) setKind(e *FDBEntry) {
	switch {
	case e.blackhole && e.where.has("port"):
		p.errs = append(p.errs, e.Errorf("port", "a blackhole has no port"))
	case e.blackhole && e.sticky:
		p.errs = append(p.errs, e.Errorf("sticky", "a blackhole neither ages nor moves"))
	case e.blackhole:
		e.Kind, e.All = vswitch.FDBBlackhole, !e.where.has("vlan")
	case !e.where.has("port"):
		p.errs = append(p.errs, e.Errorf("port", "is missing"))
	case e.sticky:
		e.Kind = vswitch.FDBSticky
	}
}

// portNames returns the names of all ports.
func (p *parser) portNames() (names []string) {
	for _, port := range p.cfg.Ports {
		names = append(names, port.Name)
	}
	return names
}

// lookAtHost returns warnings about host resources that are missing now and may appear later.
func (ks Kinds) lookAtHost(c *Config) (warnings Errors) {
	for _, k := range ks {
		if k.LookAtHost == nil {
			continue
		}
		var ports []*Port
		for _, p := range c.Ports {
			if p.Kind == k {
				ports = append(ports, p)
			}
		}
		warnings = append(warnings, k.LookAtHost(ports)...)
	}
	return warnings
}
