package daemon

import (
	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

func mirrorConfigs(mirrors []*config.Mirror) (list []vswitch.MirrorConfig) {
	for _, m := range mirrors {
		list = append(list, m.MirrorConfig)
	}
	return list
}

// compareMirrors returns a line for each mirror that is to change.
func compareMirrors(old, now []*config.Mirror) []string {
	return compareNamed("mirror", old, now, func(m *config.Mirror) string { return m.Name }, func(a, b *config.Mirror) bool {
		return len(key.Differing(a.Keys(), b.Keys())) == 0
	})
}

// Mirrors implements control.Backend.
func (b backend) Mirrors() (infos []control.Mirror) {
	for _, m := range b.d.sw.Mirrors() {
		c := &m.Config
		infos = append(infos, control.Mirror{
			Name: c.Name, SelectAll: c.SelectAll, SelectSrc: c.SelectSrc, SelectDst: c.SelectDst, SelectVLAN: c.SelectVLAN,
			Filter: c.Filter, Output: c.Output, OutputVLAN: c.OutputVLAN, Snaplen: c.Snaplen,
			Frames: m.Counters.Frames.Load(), Bytes: m.Counters.Bytes.Load(), Drops: m.Counters.Drops.Load(),
		})
	}
	return infos
}
