package daemon

import (
	"fmt"
	"strconv"
	"sync"

	"github.com/hashicorp/go-hclog"

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
	log      hclog.Logger
	counters *vswitch.Counters
	up       *uplink.Uplink
	att      *vswitch.Attachment
	inlet    *vswitch.Inlet

	mu  sync.Mutex
	cfg config.Uplink // but for Bridging it stays what it was
}

func (d *Daemon) openUplink(cfg *config.Uplink) (port, error) {
	p := &uplinkPort{log: d.log.With("port", cfg.Name), cfg: *cfg, counters: &vswitch.Counters{}}
	var err error
	p.up, err = uplink.Open(uplink.Config{
		Name:        cfg.Name,
		Interface:   cfg.Interface,
		Promiscuous: cfg.Promiscuous,
		Counters:    p.counters,
		Logger:      d.log,
		Interfaces:  &d.nics,
		Deliver:     func(frames []vswitch.Frame) { p.inlet.Deliver(frames) },
		SetUp:       func(up bool) { p.att.SetUp(up) },
		Start: func(s uplink.Source) {
			if err := d.pool.Add(s); err != nil {
				p.log.Error("uplink cannot receive", "error", err)
			}
		},
		Stop: func(s uplink.Source) { d.pool.Remove(s) },
	})
	if err != nil {
		return nil, err
	}
	p.att, err = d.sw.Attach(bridging(cfg.Name, nil, &cfg.Bridging, p.counters), p.up)
	if err != nil {
		p.up.Close()
		return nil, fmt.Errorf("uplink %s: %w", cfg.Name, err)
	}
	p.inlet = p.att.NewInlet()
	p.up.Begin()
	return p, nil
}

func (p *uplinkPort) name() string                    { return p.cfg.Name }
func (p *uplinkPort) attachment() *vswitch.Attachment { return p.att }
func (p *uplinkPort) blame(uintptr) bool              { return false } // its memory is the kernel's

func (p *uplinkPort) reconfigured(s setting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg.Bridging = s.uplink.Bridging
}

func (p *uplinkPort) close() {
	if err := p.up.Close(); err != nil {
		p.log.Warn("closing the uplink failed", "error", err)
	}
	p.inlet.Close()
	p.att.Detach()
}

func (p *uplinkPort) info() control.PortInfo {
	st := p.up.Status()
	p.mu.Lock()
	defer p.mu.Unlock()
	info := control.PortInfo{
		Name:      p.cfg.Name,
		Kind:      control.KindUplink,
		State:     control.StateError,
		Interface: st.Interface,
		Queues:    1,
		MTU:       st.MTU,
		VLAN:      vlanInfo(&p.cfg.Bridging),
		Flags:     flagsInfo(&p.cfg.Bridging),
		LastError: st.Err,
		Counters:  countersInfo(p.counters),
	}
	describe(&info, p.att)
	switch st.State {
	case uplink.StateUp:
		info.State = control.StateRunning
	case uplink.StateAbsent:
		info.State, info.LastError = control.StateWaiting, "there is no network interface "+strconv.Quote(p.cfg.Interface)
	case uplink.StateDown:
		info.State, info.LastError = control.StateWaiting, "the interface is set down"
	case uplink.StateNoCarrier:
		info.State, info.LastError = control.StateWaiting, "the interface has no carrier"
	case uplink.StateTaken:
		info.State = control.StateWaiting
	}
	if st.KernelDrops > 0 {
		info.Counters.Drops[dropKernelRing] = st.KernelDrops
	}
	return info
}

func (p *uplinkPort) detail() control.PortDetail { return control.PortDetail{PortInfo: p.info()} }
