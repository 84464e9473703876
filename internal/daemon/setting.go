package daemon

import (
	"bytes"
	"fmt"
	"net"
	"slices"

	"vswitchd/internal/config"
	vswitch "vswitchd/switch"
)

// A setting is a port of either kind, as configured.
type setting struct {
	name     string
	resource string // what only one port can have: a socket, an interface
	guest    *config.Port
	uplink   *config.Uplink
}

// settings returns all ports of a configuration, in the order in which they are shown.
func settings(cfg *config.Config) []setting {
	var list []setting
	for i := range cfg.Uplinks {
		u := &cfg.Uplinks[i]
		list = append(list, setting{name: u.Name, resource: "interface " + u.Interface, uplink: u})
	}
	for i := range cfg.Ports {
		p := &cfg.Ports[i]
		list = append(list, setting{name: p.Name, resource: fmt.Sprintf("%s socket %s %d", p.Mode, p.Socket, p.FD), guest: p})
	}
	return list
}

func byName(list []setting) map[string]setting {
	m := make(map[string]setting)
	for _, s := range list {
		m[s.name] = s
	}
	return m
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

// same reports whether two settings differ in bridging at most, and in what a guest's
// next front-end is offered.
func (s setting) same(o setting) bool {
	switch {
	case s.guest != nil && o.guest != nil:
		g := *s.guest
		g.Bridging, g.MAC, g.Offloads, g.MaxMemory = o.guest.Bridging, o.guest.MAC, o.guest.Offloads, o.guest.MaxMemory
		return g.Equal(o.guest)
	case s.uplink != nil && o.uplink != nil:
		u := *s.uplink
		u.Bridging = o.uplink.Bridging
		return u.Equal(o.uplink)
	}
	return false
}

// bridged reports whether two settings are bridged alike.
func (s setting) bridged(o setting) bool {
	return s.bridging().Equal(o.bridging()) && bytes.Equal(s.mac(), o.mac())
}

// limited reports whether two settings of a port limit its front-end alike.
func (s setting) limited(o setting) bool {
	return s.guest == nil || s.guest.MaxMemory == o.guest.MaxMemory
}

// offered reports whether two settings of a port offer the same to its guest.
func (s setting) offered(o setting) bool {
	return s.guest == nil || slices.Equal(s.guest.Offloads, o.guest.Offloads)
}
