package daemon

import (
	"net"
	"time"

	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	"vswitchd/internal/control"
	"vswitchd/internal/version"
	vswitch "vswitchd/switch"
)

// Backend returns the switch as the control API sees it.
func (d *Daemon) Backend() control.Backend { return backend{d} }

type backend struct{ d *Daemon }

// Switch implements control.Backend.
func (b backend) Switch() control.SwitchStatus {
	fdb := b.d.sw.Stats()
	st := control.SwitchStatus{
		Version:    version.String(),
		UptimeS:    int64(time.Since(b.d.start).Seconds()),
		FDBEntries: fdb.Entries,
		FDBSize:    fdb.TableSize,
		MACAgingS:  int64(fdb.AgingTime.Seconds()),
		FDBEvents:  b.d.sw.FDBEvents().ByName(),
	}
	for _, w := range b.d.pool.Stats() {
		st.Workers = append(st.Workers, control.Worker{
			CPU:       w.CPU,
			BusyRatio: w.Busy.Seconds() / w.Up.Seconds(),
			BusyS:     w.Busy.Seconds(),
			Frames:    w.Work,
			Wakeups:   w.Wakeups,
			Sources:   w.Sources,
			Moved:     w.Moved,
		})
	}
	return st
}

// Ports implements control.Backend.
func (b backend) Ports() []control.PortInfo {
	var infos []control.PortInfo
	for _, p := range b.d.snapshot() {
		infos = append(infos, p.info())
	}
	return infos
}

// Port implements control.Backend.
func (b backend) Port(name string) (control.PortDetail, error) {
	for _, p := range b.d.snapshot() {
		if p.name() == name {
			return p.detail(), nil
		}
	}
	return control.PortDetail{}, control.ErrNotFound
}

// Reasons implements control.Backend.
func (backend) Reasons(k control.Kind) control.Reasons {
	r := control.Reasons{Drops: vswitch.DropReasons()}
	if k == control.KindUplink {
		r.Drops = append(r.Drops, dropKernelRing)
	} else {
		r.Resets = resetNames()
	}
	return r
}

// FDB implements control.Backend.
func (b backend) FDB(f control.FDBFilter) []control.FDBEntry {
	vlan := f.VLAN
	if vlan < 0 {
		vlan = vswitch.AnyVLAN
	}
	var entries []control.FDBEntry
	for _, e := range b.d.sw.FDB(f.Port, vlan) {
		entry := control.FDBEntry{
			MAC:  net.HardwareAddr(e.MAC[:]).String(),
			VLAN: e.VLAN,
			All:  e.All,
			Port: e.Port,
			Type: "dynamic",
			AgeS: int64(e.Age.Seconds()),
		}
		if e.Static {
			entry.Type, entry.AgeS = "static", 0
		}
		entries = append(entries, entry)
	}
	return entries
}

func countersInfo(c *vswitch.Counters) control.Counters {
	return control.Counters{
		RxFrames: c.RxFrames.Load(),
		RxBytes:  c.RxBytes.Load(),
		TxFrames: c.TxFrames.Load(),
		TxBytes:  c.TxBytes.Load(),
		Drops:    c.DropsByName(),

		FDBEvents: c.FDB().ByName(),
	}
}

// describe adds what all ports have in common: what is configured, and what the switch knows.
func describe(info *control.PortInfo, p *config.Port, a *vswitch.Attachment) {
	info.VLAN = control.VLAN{Mode: p.VLANMode.String(), Tag: p.Tag, Trunks: p.Trunks}
	info.Flags = settings(p.Policies())
	info.Settings = settings(p.Keys())
	for _, m := range p.MACs {
		info.MAC = m.String()
	}
	sw := a.Info()
	info.FDB = control.FDBCount{Dynamic: sw.Dynamic, Static: sw.Static}
	for _, m := range sw.Local {
		info.HostMACs = append(info.HostMACs, m.String())
	}
}

// settings returns the values of keys that a file can have.
func settings(keys []key.Key) (list control.Settings) {
	for _, k := range keys {
		if !k.Flag && !k.Unsupported {
			list = append(list, control.Setting{Key: k.Name, Value: k.Get()})
		}
	}
	return list
}
