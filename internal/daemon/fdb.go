package daemon

import (
	"errors"
	"fmt"
	"net"

	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// The FDB in the control API.

// FDB implements control.Backend.
func (b backend) FDB(f control.FDBFilter) []control.FDBEntry {
	var entries []control.FDBEntry
	for _, e := range b.d.sw.FDB(f.Port, anyVLAN(f.VLAN)) {
		entries = append(entries, fdbEntry(&e))
	}
	return entries
}

// anyVLAN returns the switch's value for a VLAN of the API.
func anyVLAN(vlan int) int {
	if vlan < 0 {
		return vswitch.AnyVLAN
	}
	return vlan
}

func fdbEntry(e *vswitch.FDBEntry) control.FDBEntry {
	return control.FDBEntry{
		MAC:  net.HardwareAddr(e.MAC[:]).String(),
		VLAN: e.VLAN,
		All:  e.All,
		Port: e.Port,
		Type: e.Kind.String(),
		AgeS: int64(e.Age.Seconds()),
	}
}

// AddFDB implements control.Backend.
func (b backend) AddFDB(a control.FDBAddition) (control.FDBEntry, error) {
	kind, err := vswitch.ParseFDBKind(a.Type)
	if err != nil {
		return control.FDBEntry{}, err
	}
	e := vswitch.StaticEntry{MAC: a.MAC, Port: a.Port, Kind: kind}
	switch {
	case a.VLAN >= 0:
		e.VLAN = uint16(a.VLAN)
	case kind == vswitch.FDBBlackhole:
		e.All = true
	default:
		e.VLAN = b.untagged(a.Port)
	}
	if err := b.d.sw.AddFDB(e); err != nil {
		if errors.Is(err, vswitch.ErrNoPort) {
			err = fmt.Errorf("%w: %q", control.ErrNotFound, a.Port)
		}
		return control.FDBEntry{}, err
	}
	added := fdbEntry(&vswitch.FDBEntry{MAC: e.MAC, VLAN: e.VLAN, All: e.All, Port: e.Port, Kind: kind})
	b.d.log.Info("an FDB entry was added by hand", "mac", added.MAC, "vlan", added.VLAN, "all_vlans", added.All, "port", added.Port, "type", added.Type)
	return added, nil
}

// untagged returns the VLAN of a port's untagged frames.
func (b backend) untagged(name string) uint16 {
	for _, m := range b.d.snapshot() {
		if m.cfg.Name == name {
			return m.cfg.Tag
		}
	}
	return 0
}

// DeleteFDB implements control.Backend.
func (b backend) DeleteFDB(mac control.MAC, vlan int) error {
	if err := b.d.sw.DelFDB(mac, anyVLAN(vlan)); err != nil {
		if errors.Is(err, vswitch.ErrNoEntry) {
			err = fmt.Errorf("%w: %s", control.ErrNoEntry, net.HardwareAddr(mac[:]))
		}
		return err
	}
	b.d.log.Info("an FDB entry was removed by hand", "mac", net.HardwareAddr(mac[:]), "vlan", vlan)
	return nil
}

// FlushFDB implements control.Backend.
func (b backend) FlushFDB(f control.FDBFilter, types []string) (int, error) {
	filter := vswitch.FDBFilter{Port: f.Port, VLAN: anyVLAN(f.VLAN)}
	for _, t := range types {
		k, err := vswitch.ParseFDBKind(t)
		if err != nil {
			return 0, err
		}
		filter.Kind = append(filter.Kind, k)
	}
	n, err := b.d.sw.Flush(filter)
	if errors.Is(err, vswitch.ErrNoPort) {
		return 0, fmt.Errorf("%w: %q", control.ErrNotFound, f.Port)
	}
	if err == nil {
		b.d.log.Info("FDB entries were flushed by hand", "port", f.Port, "vlan", f.VLAN, "types", types, "removed", n)
	}
	return n, err
}
