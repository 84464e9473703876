package hostport

import (
	"context"
	"sync"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/port"
	"vswitchd/internal/port/packetport"
	vswitch "vswitchd/switch"
	"vswitchd/uplink"
)

// A Port is a host port.
type Port struct {
	base packetport.Base
	lock *lock
	up   *uplink.Uplink // on the peer
	made progress       // what open has done

	mu      sync.Mutex
	cfg     *config.Port
	lastErr string // of the last change
}

// open makes a port's interface or takes it over. The port does not receive before it is begun.
func open(env port.Env, cfg *config.Port, c *vswitch.Counters) (_ *Port, err error) {
	p := newPort(env, cfg)
	if p.lock, err = takeLock(cfg.Name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.made.takeBack(p.base.Log)
			p.lock.release()
		}
	}()
	if err := p.made.establish(nil, cfg); err != nil {
		return nil, err
	}
	p.up, err = p.base.Open(uplinkConfig(cfg, c))
	return p, err
}

// newPort makes a port without a lock and without an uplink.
func newPort(env port.Env, cfg *config.Port) *Port {
	return &Port{base: packetport.Base{Env: env, Log: port.NewLog(env.Logger, cfg.Name)}, cfg: cfg}
}

// uplinkConfig returns the configuration of the uplink of a port.
func uplinkConfig(cfg *config.Port, c *vswitch.Counters) uplink.Config {
	return uplink.Config{
		Name:        cfg.Name,
		Interface:   peerName(cfg.Name),
		Promiscuous: true,
		HostEnd:     true,
		Counters:    c,
	}
}

// Transmitter implements port.Port.
func (p *Port) Transmitter() vswitch.Port { return p.up }

// Begin implements port.Port.
func (p *Port) Begin(a *vswitch.Attachment) {
	p.base.Begin(a)
	p.up.Begin()
}

// Prepare implements port.Port: it changes the interface, or makes it again if it is gone, and
// leaves it to Apply to remove addresses.
func (p *Port) Prepare(_ context.Context, was, will *config.Port) (port.Change, error) {
	step := new(progress)
	if err := step.establish(was, will); err != nil {
		step.takeBack(p.base.Log)
		return port.Change{}, err
	}
	return port.Change{
		Apply: func() { p.adopt(will, step.dropAddresses(was, will)) },
		Undo:  func() { step.takeBack(p.base.Log) },
	}, nil
}

// adopt takes over another configuration. err is why an address could not be removed.
func (p *Port) adopt(cfg *config.Port, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg, p.lastErr = cfg, ""
	if err != nil {
		p.lastErr = err.Error()
		p.base.Log.Error("the interface is not as configured", "error", err)
	}
}

// Close implements port.Port.
func (p *Port) Close() {
	if err := p.up.Close(); err != nil {
		p.base.Log.Warn("closing the packet socket failed", "error", err)
	}
	p.base.Close()
	if p.base.Begun() {
		p.leave()
	} else {
		p.made.takeBack(p.base.Log)
	}
	p.lock.release()
}

// leave removes the pair unless that is to stay. The peer is found by its index, since the host's
// end may have been renamed or moved to another network namespace.
func (p *Port) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	index := p.up.Status().Index
	if of(p.cfg).Persist || index == 0 {
		return
	}
	if err := removePeer(index); err != nil {
		p.base.Log.Warn("removing the interface failed", "error", err)
	}
}

// Describe implements port.Port.
func (p *Port) Describe(info *control.PortInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.up.Status()
	info.Interface = p.cfg.Name
	info.Queues = 1
	info.MTU = st.MTU
	info.Link, info.LastError = st.State, st.Err
	switch st.State {
	case uplink.StateUp:
		if info.LastError == "" {
			info.LastError = p.lastErr
		}
	case uplink.StateAbsent:
		info.LastError = "somebody has removed the interface: a reload makes it again"
	case uplink.StateDown:
		info.LastError = "the interface's other end, " + st.Interface + ", is set down"
	case uplink.StateNoCarrier:
		info.LastError = "the interface is set down"
	}
}

// Count implements port.Port.
func (p *Port) Count(stats *control.PortStats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	packetport.Count(stats, p.up.Status(), uplink.StateDown, uplink.StateNoCarrier)
}

// DescribeDetail implements port.Port.
func (p *Port) DescribeDetail(detail *control.PortDetail) {
	p.mu.Lock()
	name := p.cfg.Name
	p.mu.Unlock()
	if v, err := find(name); err == nil && v != nil {
		detail.Addresses = v.addresses()
	}
}
