package hostport

import (
	"net/netip"

	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// Declaration says what the tables of host ports are called, and which keys they have.
var Declaration = &config.Kind{
	Name:    "host",
	Table:   "host",
	Example: "br0",
	Role:    vswitch.RoleHost,
	Doc:     "The host itself on the switch: a network interface of the host that has the port's name.",
	Says:    "a host port is a network interface that vswitchd makes",
	New:     func(name string, _ *config.Switch) config.Settings { return &Settings{name: name, MTU: defaultMTU} },
}

// Limits of Settings.MTU, in bytes: those of a veth interface, whose frames have to fit into 64 KiB
// with the Ethernet header and a VLAN tag. Without minMTU6 the interface has no IPv6.
const (
	minMTU     = 68
	minMTU6    = 1280
	maxMTU     = 65517
	defaultMTU = 1500
)

// Settings are what a host port is set to.
type Settings struct {
	Addresses []netip.Prefix
	MTU       int  // bytes
	Persist   bool // the interface stays when the port or vswitchd ends

	name string
}

// of returns the settings of a host port.
func of(p *config.Port) *Settings { return p.Settings.(*Settings) }

// Place implements config.Settings: two ports are never on one interface.
func (s *Settings) Place() config.Place {
	return config.Place{Is: "interface", Name: s.name, ID: s.name}
}

// Keys implements config.Settings.
func (s *Settings) Keys(p *vswitch.PortConfig) []key.Key {
	return []key.Key{
		{Name: "addresses", Value: key.Prefixes(&s.Addresses),
			Changed: func() string { return "has other addresses" },
			Doc:     `addresses that the interface is given, such as "10.0.0.1/24"; others that it has are left alone`},
		{Name: "mac", Value: key.OptionalMAC(&p.MACs),
			Changed: func() string {
				if len(p.MACs) == 0 {
					return "keeps its MAC address, which is no longer configured"
				}
				return "has MAC address " + p.MACs[0].String()
			},
			Doc: `the interface's MAC address; "": the kernel chooses one when the interface is made`},
		{Name: "mtu", Value: key.Int(&s.MTU, minMTU, maxMTU),
			Changed: func() string { return "has another MTU" },
			Doc:     "the interface's MTU, in bytes"},
		{Name: "persist", Value: key.Bool(&s.Persist),
			Doc: "`true`: the interface stays when the port is removed or vswitchd ends, and is taken over at the next start"},
	}
}
