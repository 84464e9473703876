package uplinkport

import (
	"errors"

	"github.com/vishvananda/netlink"

	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// Declaration declares the tables of uplinks and their keys.
var Declaration = &config.Kind{
	Name:       "uplink",
	Table:      "uplink",
	Example:    "lan",
	Role:       vswitch.RoleUplink,
	Doc:        "A port on a network interface of the host.",
	Says:       "an uplink has an interface",
	New:        func(string, *config.Switch) config.Settings { return &Settings{Promiscuous: true} },
	LookAtHost: lookAtHost,
}

// Settings are the settings of an uplink.
type Settings struct {
	Interface   string
	Promiscuous bool
}

// of returns the settings of an uplink.
func of(p *config.Port) *Settings { return p.Settings.(*Settings) }

// Place implements config.Settings.
func (s *Settings) Place() config.Place {
	return config.Place{Key: "interface", Is: "interface", Name: s.Interface, ID: s.Interface}
}

// Keys implements config.Settings.
func (s *Settings) Keys(p *vswitch.PortConfig) []key.Key {
	return []key.Key{
		{Name: "interface", Value: key.Interface(&s.Interface), Required: true, Example: `"eth1"`,
			Changed: func() string { return "moved to interface " + s.Interface }, Doc: "the network interface"},
		{Name: "promiscuous", Value: key.Bool(&s.Promiscuous),
			Changed: func() string { return "opened again, as promiscuous has changed" },
			Doc:     "`false`: the guests' addresses, at most 256, are added to the interface's filter, instead of receiving all frames"},
		{Name: "announce", Value: key.Bool(&p.Announce),
			Doc: "when the uplink comes up, or a guest is connected again, the stations on other ports are announced on the uplink by RARP; see [layer 2](layer2.md#announcements)"},
	}
}

// lookAtHost returns a warning for each uplink whose interface is missing or shared with another
// uplink. Interfaces are compared by their kernel index, because one interface may have several
// names.
func lookAtHost(ports []*config.Port) (warnings config.Errors) {
	users := map[int]string{} // by index
	for _, p := range ports {
		name := of(p).Interface
		var missing netlink.LinkNotFoundError
		l, err := netlink.LinkByName(name)
		switch {
		case errors.As(err, &missing):
			warnings = append(warnings, p.Errorf("interface", "there is no network interface %q now, the uplink will wait for it", name))
		case err != nil:
			warnings = append(warnings, p.Errorf("interface", "cannot look at network interface %q: %v", name, err))
		case users[l.Attrs().Index] != "":
			warnings = append(warnings, p.Errorf("interface",
				"%s is the interface of %s already, under another name; the uplink will wait until that port no longer uses it",
				name, users[l.Attrs().Index]))
		default:
			users[l.Attrs().Index] = p.Path()
		}
	}
	return warnings
}
