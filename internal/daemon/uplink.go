package daemon

import (
	"strconv"
	"sync"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
	"vswitchd/uplink"
)

// dropKernelRing is why the kernel dropped frames that came in by an uplink: the ring that it
// shares with us was full. The kernel counts these, so they are no vswitch.DropReason.
const dropKernelRing = "kernel-ring-full"

// An uplinkPort is a port on an interface of the host.
type uplinkPort struct {
	log      portLog
	counters *vswitch.Counters
	att      *vswitch.Attachment
	inlet    *vswitch.Inlet
	sw       *vswitch.Switch
	feed     *addressFeed

	mu    sync.Mutex
	cfg   *config.Port
	up    *uplink.Uplink
	drops uint64 // of the kernel, at uplinks that the port had before
}

// newUplink makes an uplink's port. It is not part of the switch yet: start or discard it.
func (d *Daemon) newUplink(cfg *config.Port) (*uplinkPort, error) {
	p := &uplinkPort{log: newPortLog(d.log, cfg.Name), sw: d.sw, cfg: cfg, counters: &vswitch.Counters{}}
	var err error
	p.up, err = d.openUplink(cfg, p)
	return p, err
}

// openUplink opens an interface for a port. It does not receive before it is begun.
func (d *Daemon) openUplink(cfg *config.Port, p *uplinkPort) (*uplink.Uplink, error) {
	return uplink.Open(uplink.Config{
		Name:        cfg.Name,
		Interface:   uplinkOf(cfg).Interface,
		Promiscuous: uplinkOf(cfg).Promiscuous,
		Counters:    p.counters,
		Logger:      p.log,
		Interfaces:  &d.nics,
		Deliver:     func(frames []vswitch.Frame) { p.inlet.Deliver(frames) },
		SetUp:       func(up bool) { p.att.SetUp(up) },
		SetLocal:    func(own, others []vswitch.MAC) error { return p.att.SetLocal(own, others) },
		Start: func(s uplink.Source) {
			if err := d.pool.Add(s); err != nil {
				p.log.Error("uplink cannot receive", "error", err)
			}
		},
		Stop: func(s uplink.Source) { d.pool.Remove(s) },
	})
}

func (p *uplinkPort) start(a *vswitch.Attachment) {
	p.att = a
	p.inlet = a.NewInlet()
	p.up.Begin()
	p.feed = startFeed(p.sw, p.tellStations)
}

// tellStations tells the interface which stations are on the other ports. more is true if it is to
// be called again for the rest.
func (p *uplinkPort) tellStations() (more bool) {
	p.mu.Lock()
	up, name, promiscuous := p.up, p.cfg.Name, uplinkOf(p.cfg).Promiscuous
	p.mu.Unlock()
	return !promiscuous && up.SetAddresses(stationsBeyond(p.sw.FDB("", vswitch.AnyVLAN), name))
}

// discard is close for a port that has not been started.
func (p *uplinkPort) discard() { _ = p.up.Close() }

func (p *uplinkPort) name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Name
}

func (p *uplinkPort) attachment() *vswitch.Attachment { return p.att }
func (p *uplinkPort) blame(uintptr) bool              { return false } // its memory is the kernel's

// adopt takes over another configuration. If there is an uplink for it, that takes the place of
// the one that the port has, whose interface has other stations.
func (p *uplinkPort) adopt(cfg *config.Port, r readied) {
	p.log.rename(cfg.Name)
	p.mu.Lock()
	old := p.up
	p.cfg = cfg
	p.mu.Unlock()
	if r.up == nil {
		old.Rename(cfg.Name)
		p.feed.again()
		return
	}
	if err := old.Close(); err != nil {
		p.log.Warn("closing the uplink failed", "error", err)
	}
	p.att.SetUp(false)
	p.mu.Lock()
	p.drops += old.Status().KernelDrops
	p.up = r.up
	p.mu.Unlock()
	r.up.Begin()
	p.feed.again()
}

func (p *uplinkPort) close() {
	p.feed.close()
	if err := p.up.Close(); err != nil {
		p.log.Warn("closing the uplink failed", "error", err)
	}
	p.inlet.Close()
	p.att.Detach()
}

func (p *uplinkPort) info() control.PortInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.up.Status()
	info := control.PortInfo{
		Name:      p.cfg.Name,
		Kind:      control.KindUplink,
		State:     control.StateError,
		Interface: st.Interface,
		Queues:    1,
		MTU:       st.MTU,
		LastError: st.Err,
		Counters:  countersInfo(p.counters),
	}
	describe(&info, p.cfg, p.att)
	switch st.State {
	case uplink.StateUp:
		info.State = control.StateRunning
	case uplink.StateAbsent:
		info.State, info.LastError = control.StateWaiting, "there is no network interface "+strconv.Quote(uplinkOf(p.cfg).Interface)
	case uplink.StateDown:
		info.State, info.LastError = control.StateWaiting, "the interface is set down"
	case uplink.StateNoCarrier:
		info.State, info.LastError = control.StateWaiting, "the interface has no carrier"
	case uplink.StateTaken:
		info.State = control.StateWaiting
	}
	if n := p.drops + st.KernelDrops; n > 0 {
		info.Counters.Drops[dropKernelRing] = n
	}
	return info
}

func (p *uplinkPort) detail() control.PortDetail {
	info := p.info()
	p.mu.Lock()
	st := p.up.Status()
	p.mu.Unlock()
	return control.PortDetail{PortInfo: info, Reception: &control.Reception{
		Promiscuous: st.Promiscuous, Addresses: st.Addresses, LeftOut: st.LeftOut, LRO: st.LRO,
	}}
}
