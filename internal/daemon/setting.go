package daemon

import (
	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	guestport "vswitchd/internal/port/guest"
	"vswitchd/internal/port/uplinkport"
	vswitch "vswitchd/switch"
)

// Kinds returns the kinds of port that there are, in the order in which their ports are shown.
func Kinds() config.Kinds { return config.Kinds{uplinkport.Declaration, guestport.Declaration} }

// portConfig is what the switch is told about the port.
func portConfig(p *config.Port, c *vswitch.Counters) vswitch.PortConfig {
	pc := p.PortConfig
	pc.Counters = c
	return pc
}

// guestOf returns the settings of a guest's port, nil of another one.
func guestOf(p *config.Port) *guestport.Settings {
	s, _ := p.Settings.(*guestport.Settings)
	return s
}

// uplinkOf returns the settings of an uplink, nil of another port.
func uplinkOf(p *config.Port) *uplinkport.Settings {
	s, _ := p.Settings.(*uplinkport.Settings)
	return s
}

// differences returns what to tell the operator of a port that was o and is p now.
func differences(p, o *config.Port) (lines []string) {
	if o.Name != p.Name {
		lines = append(lines, "port "+o.Name+" renamed to "+p.Name)
	}
	told := make(map[string]bool)
	for _, k := range p.Differing(o) {
		text := news(&k)
		if text != "" && !told[text] {
			lines = append(lines, "port "+p.Name+" "+text)
		}
		told[text] = true
	}
	return lines
}

// news says what has happened to a port one of whose keys has another value now.
func news(k *key.Key) string {
	switch {
	case k.Changed != nil:
		return k.Changed()
	case k.Live == key.Next:
		return "has another " + k.Name + " for the next front-end that connects"
	}
	return "reconfigured"
}
