package config

import (
	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// A Mirror is a mirror of the switch. Whether the ports that it names exist is the switch's to
// check.
type Mirror struct {
	vswitch.MirrorConfig

	where where
}

// Errorf returns an error about a key of this mirror; "": about the mirror itself.
func (m *Mirror) Errorf(key, format string, args ...any) Error {
	return m.where.errorf(key, format, args...)
}

// Keys returns the keys of the mirror, bound to it.
func (m *Mirror) Keys() []key.Key {
	return []key.Key{
		{Name: "select_all", Value: key.Bool(&m.SelectAll), Doc: "frames from and to all ports are copied, but the outputs of mirrors"},
		{Name: "select_src", Value: key.Texts(&m.SelectSrc), Doc: "ports: frames that come from them are copied"},
		{Name: "select_dst", Value: key.Texts(&m.SelectDst), Doc: "ports: frames that go to them are copied"},
		{Name: "select_vlan", Value: key.Ranges(&m.SelectVLAN, 0, 4095), Doc: "of these frames only those in these VLANs are copied; empty: those in any"},
		{Name: "filter", Value: key.Text(&m.Filter), Doc: "of these frames only those that the filter of this name accepts are copied; \"\": all"},
		{Name: "output", Value: key.Text(&m.Output), Example: `"vm1"`,
			Doc: "the port to which the copies are sent, and nothing else; what comes from it is dropped"},
		{Name: "output_vlan", Value: key.Int(&m.OutputVLAN, 0, 4094), Doc: "instead of output: the VLAN into which the copies are sent (RSPAN); 0: none"},
		{Name: "snaplen", Value: key.IntOrZero(&m.Snaplen, 14, 65535), Doc: "bytes to which copies are cut; 0: they are not cut"},
	}
}

func (p *parser) mirror(t *table, twice bool) {
	m := &Mirror{MirrorConfig: vswitch.MirrorConfig{Name: t.path[1]}, where: t.where()}
	t.read(m.Keys(), nil)
	p.namedTable(t, twice, func() { p.cfg.Mirrors = append(p.cfg.Mirrors, m) })
}
