package daemon

import (
	"errors"
	"slices"
	"strings"

	"vswitchd/internal/config"
	"vswitchd/internal/nearest"
	vswitch "vswitchd/switch"
)

// refusals converts the switch's errors about a change into configuration errors with their
// positions. hosts maps addresses of the host to the ports that have them.
func refusals(cfg *config.Config, err error, hosts map[vswitch.MAC]*config.Port) (errs config.Errors) {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, e := range all {
		errs = append(errs, refusal(cfg, e, hosts))
	}
	return errs
}

func refusal(cfg *config.Config, err error, hosts map[vswitch.MAC]*config.Port) config.Error {
	var ce *vswitch.ChangeError
	if errors.Is(err, vswitch.ErrBadQuerier) {
		return config.Error{Pos: cfg.Switch.At("mcast_querier"), Key: "switch.mcast_querier", Msg: err.Error()}
	}
	if !errors.As(err, &ce) {
		return config.Error{Pos: cfg.Switch.At("mac_table_size"), Key: "switch.mac_table_size", Msg: err.Error()}
	}
	msg := ce.Err.Error() + meant(cfg, ce.Err)
	if i := slices.IndexFunc(cfg.Mirrors, func(m *config.Mirror) bool { return ce.Mirror != "" && m.Name == ce.Mirror }); i >= 0 {
		return cfg.Mirrors[i].Errorf(ce.Key, "%s", msg)
	}
	if ce.Group {
		return cfg.MDB[ce.Static].Errorf(memberKey(err), "%s", msg)
	}
	if ce.Neighbor {
		return cfg.Neighbors[ce.Static].Errorf(neighborKey(err), "%s", msg)
	}
	if i := slices.IndexFunc(cfg.Filters, func(f *config.Filter) bool { return ce.Filter != "" && f.Name == ce.Filter }); i >= 0 {
		return cfg.Filters[i].Errorf(ce.Rule, ce.Key, "%s", msg)
	}
	if i := slices.IndexFunc(cfg.Sets, func(s *config.Set) bool { return ce.Set != "" && s.Name == ce.Set }); i >= 0 {
		return cfg.Sets[i].Errorf(ce.Key, "%s", msg)
	}
	if ce.Port == "" {
		key := "mac"
		switch {
		case errors.Is(err, vswitch.ErrNoPort):
			key = "port"
		case errors.Is(err, vswitch.ErrBadVLAN):
			key = "vlan"
		}
		return cfg.FDB[ce.Static].Errorf(key, "%s", msg)
	}
	i := slices.IndexFunc(cfg.Ports, func(p *config.Port) bool { return p.Name == ce.Port })
	p := cfg.Ports[i]
	if errors.Is(err, vswitch.ErrAddressPinned) {
		if other := pinnedTo(cfg.Ports[:i], p.MACs, hosts); other != "" {
			msg += ", " + other
		}
	}
	return p.Errorf(ce.Key, "%s", msg)
}

// meant returns what was probably meant by a name that the switch does not know, for the end of the
// error's text.
func meant(cfg *config.Config, err error) string {
	var known []string
	var kind error
	switch {
	case errors.Is(err, vswitch.ErrNoFilter):
		kind = vswitch.ErrNoFilter
		for _, f := range cfg.Filters {
			known = append(known, f.Name)
		}
	case errors.Is(err, vswitch.ErrNoSet):
		kind = vswitch.ErrNoSet
		for _, s := range cfg.Sets {
			known = append(known, s.Name)
		}
	case errors.Is(err, vswitch.ErrNoPort):
		kind = vswitch.ErrNoPort
		for _, p := range cfg.Ports {
			known = append(known, p.Name)
		}
	default:
		return ""
	}
	_, name, _ := strings.Cut(err.Error(), kind.Error()+": ")
	return nearest.Hint(name, known)
}

// neighborKey returns the key of a neighbor that an error of the switch is about.
func neighborKey(err error) string {
	switch {
	case errors.Is(err, vswitch.ErrBadMAC):
		return "mac"
	case errors.Is(err, vswitch.ErrBadVLAN):
		return "vlan"
	}
	return "ip"
}

// pinnedTo returns the path of the first of ports that also has one of the addresses, or "".
func pinnedTo(ports []*config.Port, macs []vswitch.MAC, hosts map[vswitch.MAC]*config.Port) string {
	for _, p := range ports {
		if slices.ContainsFunc(macs, func(m vswitch.MAC) bool { return slices.Contains(p.MACs, m) || hosts[m] == p }) {
			return p.Path()
		}
	}
	return ""
}
