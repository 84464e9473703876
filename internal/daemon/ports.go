package daemon

import (
	"time"

	"sync"

	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	"vswitchd/internal/control"
	"vswitchd/internal/port"
	vswitch "vswitchd/switch"
)

// A member is a port of the switch with its current configuration. It is immutable: a change of a
// port's settings creates a new member.
type member struct {
	cfg      *config.Port
	port     port.Port
	att      *vswitch.Attachment
	counters *vswitch.Counters
	since    time.Time // since when counters count
}

// portConfig returns the configuration that the switch gets for a port.
func portConfig(p *config.Port, c *vswitch.Counters) vswitch.PortConfig {
	pc := p.PortConfig
	pc.Counters = c
	return pc
}

// closeAll closes ports concurrently, because each may have to wait for the end of its guest's last
// batch.
func closeAll(ports []*member) {
	var wg sync.WaitGroup
	for _, m := range ports {
		wg.Go(m.port.Close)
	}
	wg.Wait()
}

// stats returns the port's entry in the control API's list of figures.
func (m *member) stats() control.PortStats {
	st, _ := m.count()
	return st
}

// count is stats, with the switch's state of the port.
func (m *member) count() (control.PortStats, vswitch.PortInfo) {
	p, sw := m.cfg, m.att.Info()
	st := control.PortStats{
		Name:        p.Name,
		Kind:        control.Kind(p.Kind.Name),
		LoopBlocked: sw.Loop != nil,
		FDB:         control.FDBCount{Dynamic: sw.Dynamic, Static: sw.Static},
		Limits:      limitsOf(&p.PortConfig),
		Counters:    countersInfo(m.counters),
		SinceS:      int64(time.Since(m.since).Seconds()),
	}
	m.port.Count(&st)
	if st.LoopBlocked && st.State == control.StateRunning {
		st.State = control.StateBlocked
	}
	return st, sw
}

// limitsOf returns the limits that are configured.
func limitsOf(p *vswitch.PortConfig) (list []control.PortLimit) {
	for _, l := range []control.PortLimit{
		{Key: "ingress_policing_rate", Bits: p.IngressPolicingRate},
		{Key: "ingress_policing_pps", Frames: uint64(p.IngressPolicingPPS)},
		{Key: "egress_rate", Bits: p.EgressRate},
		{Key: "storm_control_pps", Frames: uint64(p.StormControlPPS)},
		{Key: "storm_control_bcast_pps", Frames: uint64(p.StormControlBcastPPS)},
		{Key: "storm_control_mcast_pps", Frames: uint64(p.StormControlMcastPPS)},
		{Key: "storm_control_unknown_pps", Frames: uint64(p.StormControlUnknownPPS)},
	} {
		if l.Bits > 0 || l.Frames > 0 {
			list = append(list, l)
		}
	}
	return list
}

// info returns the port's entry in the control API's list of ports.
func (m *member) info() control.PortInfo {
	p := m.cfg
	st, sw := m.count()
	info := control.PortInfo{
		Name:     st.Name,
		Kind:     st.Kind,
		State:    st.State,
		VLAN:     control.VLAN{Mode: p.VLANMode.String(), Tag: p.Tag, Trunks: p.Trunks, CVLANs: p.CVLANs},
		Flags:    settings(p.Policies()),
		Settings: settings(p.Keys()),
		FDB:      st.FDB,
		Counters: st.Counters,
	}
	for _, mac := range p.MACs {
		info.MAC = mac.String()
	}
	for _, mac := range sw.Local {
		info.HostMACs = append(info.HostMACs, mac.String())
	}
	m.port.Describe(&info)
	if b := sw.Loop; b != nil {
		info.Loop = &control.Loop{Port: b.Other, VLAN: b.VLAN, SinceS: int64(b.Since.Seconds()), ExpireS: int64(b.Until.Seconds())}
	}
	return info
}

func (m *member) detail() control.PortDetail {
	d := control.PortDetail{PortInfo: m.info()}
	m.port.DescribeDetail(&d)
	return d
}

// settings returns the values of the keys that can be set in a file.
func settings(keys []key.Key) (list control.Settings) {
	for _, k := range keys {
		if !k.Flag {
			list = append(list, control.Setting{Key: k.Name, Value: k.Get()})
		}
	}
	return list
}

// differences describes for the operator how a port changes from o to p, one line per change.
func differences(p, o *config.Port) (lines []string) {
	if o.Name != p.Name {
		lines = append(lines, "port "+o.Name+" renamed to "+p.Name)
	}
	seen := make(map[string]bool)
	for _, k := range p.Differing(o) {
		text := changeText(&k)
		if text != "" && !seen[text] {
			lines = append(lines, "port "+p.Name+" "+text)
		}
		seen[text] = true
	}
	return lines
}

// changeText describes the effect of a changed key on its port.
func changeText(k *key.Key) string {
	switch {
	case k.Changed != nil:
		return k.Changed()
	case k.Live == key.Next:
		return "has another " + k.Name + " for the next front-end that connects"
	}
	return "reconfigured"
}
