package uplinkport

import (
	"context"
	"strconv"
	"sync"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/port"
	"vswitchd/internal/port/packetport"
	vswitch "vswitchd/switch"
	"vswitchd/uplink"
)

// A Port is a port on an interface of the host.
type Port struct {
	base     packetport.Base
	nics     *uplink.Interfaces // of all uplinks
	counters *vswitch.Counters
	feed     *addressFeed // nil: not started
	adopted  bool         // from another process: Resume starts the feed

	mu    sync.Mutex
	cfg   *config.Port
	up    *uplink.Uplink
	drops uint64 // frames that the kernel dropped at the port's previous uplinks
}

// open opens the interface of the given configuration. The uplink does not receive before its
// Begin.
func (p *Port) open(cfg *config.Port) (*uplink.Uplink, error) {
	return p.base.Open(p.config(cfg))
}

// config returns the configuration of the uplink of a port.
func (p *Port) config(cfg *config.Port) uplink.Config {
	return uplink.Config{
		Name:        cfg.Name,
		Interface:   of(cfg).Interface,
		Promiscuous: of(cfg).Promiscuous,
		Counters:    p.counters,
		Interfaces:  p.nics,
	}
}

// Transmitter implements port.Port.
func (p *Port) Transmitter() vswitch.Port { return p.up }

// Begin implements port.Port.
func (p *Port) Begin(a *vswitch.Attachment) {
	p.base.Begin(a)
	p.up.Begin()
	if !p.adopted {
		p.startFeed()
	}
}

func (p *Port) startFeed() { p.feed = startFeed(p.base.Env.Switch, p.setStations) }

// setStations sets the interface's address filter to the stations on the other ports. more is true
// if setStations must be called again to complete the update.
func (p *Port) setStations() (more bool) {
	p.mu.Lock()
	up, name, promiscuous := p.up, p.cfg.Name, of(p.cfg).Promiscuous
	p.mu.Unlock()
	return !promiscuous && up.SetAddresses(stationsBeyond(p.base.Env.Switch.FDB("", vswitch.AnyVLAN), name))
}

// Prepare implements port.Port: it opens a new uplink if any of the kind's settings changes.
func (p *Port) Prepare(_ context.Context, was, will *config.Port) (port.Change, error) {
	if *of(will) == *of(was) {
		return port.Change{Apply: func() { p.adopt(will, nil) }}, nil
	}
	up, err := p.open(will)
	if err != nil {
		return port.Change{}, err
	}
	return port.Change{
		Transmitter: up,
		Apply:       func() { p.adopt(will, up) },
		Undo:        func() { _ = up.Close() },
	}, nil
}

// adopt applies a configuration. If up is not nil, it replaces the port's current uplink.
func (p *Port) adopt(cfg *config.Port, up *uplink.Uplink) {
	p.base.Log.Rename(cfg.Name)
	p.mu.Lock()
	old := p.up
	p.cfg = cfg
	p.mu.Unlock()
	if up == nil {
		old.Rename(cfg.Name)
		p.feed.again()
		return
	}
	if err := old.Close(); err != nil {
		p.base.Log.Warn("closing the uplink failed", "error", err)
	}
	p.base.SetDown()
	p.mu.Lock()
	p.drops += old.Status().KernelDrops
	p.up = up
	p.mu.Unlock()
	up.Begin()
	p.feed.again()
}

// Close implements port.Port.
func (p *Port) Close() {
	if p.feed != nil {
		p.feed.close()
	}
	if err := p.up.Close(); err != nil {
		p.base.Log.Warn("closing the uplink failed", "error", err)
	}
	p.base.Close()
}

// Describe implements port.Port.
func (p *Port) Describe(info *control.PortInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.up.Status()
	info.Interface = st.Interface
	info.Queues = 1
	info.MTU = st.MTU
	info.Link, info.LastError = st.State, st.Err
	switch st.State {
	case uplink.StateAbsent:
		info.LastError = "there is no network interface " + strconv.Quote(of(p.cfg).Interface)
	case uplink.StateDown:
		info.LastError = "the interface is set down"
	case uplink.StateNoCarrier:
		info.LastError = "the interface has no carrier"
	}
}

// Count implements port.Port.
func (p *Port) Count(stats *control.PortStats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.up.Status()
	st.KernelDrops += p.drops // of previous sockets
	packetport.Count(stats, st, uplink.StateAbsent, uplink.StateDown, uplink.StateNoCarrier, uplink.StateTaken)
}

// DescribeDetail implements port.Port.
func (p *Port) DescribeDetail(detail *control.PortDetail) {
	p.mu.Lock()
	st := p.up.Status()
	p.mu.Unlock()
	detail.Announced = p.counters.Announced()
	detail.Reception = &control.Reception{
		Promiscuous: st.Promiscuous, Addresses: st.Addresses, LeftOut: st.LeftOut, LRO: st.LRO,
	}
}
