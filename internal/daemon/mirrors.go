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
func compareMirrors(old, now []*config.Mirror) (lines []string) {
	was := make(map[string]*config.Mirror)
	for _, m := range old {
		was[m.Name] = m
	}
	for _, m := range now {
		o := was[m.Name]
		delete(was, m.Name)
		switch {
		case o == nil:
			lines = append(lines, "mirror "+m.Name+" added")
		case len(key.Differing(m.Keys(), o.Keys())) > 0:
			lines = append(lines, "mirror "+m.Name+" changed")
		}
	}
	for _, o := range old {
		if was[o.Name] != nil {
			lines = append(lines, "mirror "+o.Name+" removed")
		}
	}
	return lines
}

// Mirrors implements control.Backend.
func (b backend) Mirrors() (infos []control.Mirror) {
	for _, m := range b.d.sw.Mirrors() {
		c := &m.Config
		infos = append(infos, control.Mirror{
			Name: c.Name, SelectAll: c.SelectAll, SelectSrc: c.SelectSrc, SelectDst: c.SelectDst, SelectVLAN: c.SelectVLAN,
			Output: c.Output, OutputVLAN: c.OutputVLAN, Snaplen: c.Snaplen,
			Frames: m.Counters.Frames.Load(), Bytes: m.Counters.Bytes.Load(), Drops: m.Counters.Drops.Load(),
		})
	}
	return infos
}
