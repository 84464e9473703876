package daemon

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"vswitchd/internal/config"
	vswitch "vswitchd/switch"
)

// refusals says where in the configuration stands what the switch refuses.
func refusals(cfg *config.Config, err error) (errs config.Errors) {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	list := settings(cfg)
	for _, e := range all {
		errs = append(errs, refusal(cfg, list, e))
	}
	return errs
}

func refusal(cfg *config.Config, list []setting, err error) config.Error {
	var ce *vswitch.ChangeError
	if !errors.As(err, &ce) {
		return config.Error{Pos: cfg.Switch.At("mac_table_size"), Key: "switch.mac_table_size", Msg: err.Error()}
	}
	msg := ce.Err.Error()
	if ce.Port == "" {
		e := &cfg.FDB[ce.Static]
		key := "mac"
		switch {
		case errors.Is(err, vswitch.ErrNoPort):
			key = "port"
		case errors.Is(err, vswitch.ErrBadVLAN):
			key = "vlan"
		}
		return config.Error{Pos: e.At(key), Key: fmt.Sprintf("fdb[%d].%s", ce.Static, key), Msg: msg}
	}
	i := slices.IndexFunc(list, func(s setting) bool { return s.name == ce.Port })
	s, key := list[i], ""
	switch {
	case errors.Is(err, vswitch.ErrBadVLAN):
		key = vlanKey(s.bridging())
	case errors.Is(err, vswitch.ErrBadMAC), errors.Is(err, vswitch.ErrAddressPinned):
		key = "mac"
		if other := pinnedTo(list[:i], s.mac()); other != "" {
			msg += ", " + other
		}
	}
	return config.Error{Pos: s.at(key), Key: strings.TrimSuffix(s.key(key), "."), Msg: msg}
}

// vlanKey guesses which of the VLAN settings the switch means.
func vlanKey(b *config.Bridging) string {
	if b.Tag != 0 {
		return "tag"
	}
	return "trunks"
}

// pinnedTo names the first port that has the address as well.
func pinnedTo(list []setting, mac net.HardwareAddr) string {
	for _, s := range list {
		if mac != nil && slices.Equal(s.mac(), mac) {
			return strings.TrimSuffix(s.key(""), ".")
		}
	}
	return ""
}
