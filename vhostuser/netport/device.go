package netport

import (
	"fmt"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/loop"
	"vswitchd/virtqueue"
)

// Features that a port may offer, grouped by the work that they allow the sender to leave undone,
// in frames from the guest and to it. All need OffloadCsum.
const (
	OffloadCsum = 1<<featureCsum | 1<<featureGuestCsum
	OffloadTSO  = 1<<featureHostTSO4 | 1<<featureHostTSO6 | 1<<featureHostECN |
		1<<featureGuestTSO4 | 1<<featureGuestTSO6 | 1<<featureGuestECN
	OffloadUFO = 1<<featureHostUFO | 1<<featureGuestUFO
	OffloadUSO = 1<<featureHostUSO | 1<<featureGuestUSO4 | 1<<featureGuestUSO6

	AllOffloads = OffloadCsum | OffloadTSO | OffloadUFO | OffloadUSO
)

var (
	_ vhostuser.Device      = (*Port)(nil)
	_ vhostuser.Sequential  = (*Port)(nil)
	_ vhostuser.RARPer      = (*Port)(nil)
	_ vhostuser.MTUSetter   = (*Port)(nil)
	_ vhostuser.Configurer  = (*Port)(nil)
	_ vhostuser.DriverEnder = (*Port)(nil)
)

// Attach implements vhostuser.Device.
func (p *Port) Attach(s *vhostuser.Session) {
	p.features = 0
	p.mtu.Store(0)
	p.offered = p.offloads.Load()
	p.space.begin(p.cfg.Queues, p.cfg.MTU)
	p.failed.Store(false)
	p.session.Store(s)
	p.control.index = -1
	p.control.queue.Attach(s)
	p.mu.Lock()
	p.control.commands, p.control.refused = 0, 0
	p.mu.Unlock()
	p.resetControl(0)
}

// SetOffloads sets the features, of those in AllOffloads, that are offered to front-ends that
// connect from now on. It may be called at any time. The offer to a connected front-end stays:
// "features must not change" under a driver.
func (p *Port) SetOffloads(features uint64) { p.offloads.Store(features & AllOffloads) }

// Features implements vhostuser.Device.
func (p *Port) Features() uint64 {
	f := p.offered | controlFeatures |
		1<<featureMrgRxbuf | 1<<featureStatus | 1<<featureVersion1 |
		1<<virtqueue.FeatureNotifyOnEmpty | 1<<featureAnyLayout |
		1<<virtqueue.FeatureIndirectDesc | 1<<virtqueue.FeatureEventIdx |
		1<<virtqueue.FeatureInOrder | 1<<virtqueue.FeatureRingPacked
	if p.cfg.Queues > 1 {
		f |= 1 << featureMQ
	}
	if p.cfg.MTU > 0 {
		f |= 1 << featureMTU
	}
	if p.space.offersMAC() {
		f |= 1 << featureMAC
	}
	return f
}

// ProtocolFeatures implements vhostuser.Device.
func (p *Port) ProtocolFeatures() uint64 {
	f := loop.ProtocolFeatures | 1<<vhostuser.ProtocolFeatureRARP
	if p.cfg.MTU > 0 {
		f |= 1 << vhostuser.ProtocolFeatureNetMTU
	}
	return f
}

// Sequential implements vhostuser.Sequential: chains are completed in the order in which they
// became available.
func (p *Port) Sequential() bool { return true }

// QueueNum implements vhostuser.Device. A network device counts queue pairs.
func (p *Port) QueueNum() uint64 { return uint64(p.cfg.Queues) }

// MaxVrings implements vhostuser.Device: two for each queue pair, and the control queue.
func (p *Port) MaxVrings() int { return min(2*p.cfg.Queues+1, maxVrings) }

// FeaturesSet implements vhostuser.Device.
func (p *Port) FeaturesSet(features uint64) {
	p.features = features
	p.control.index = p.controlIndex(features)
	p.control.queue.FeaturesSet(features)
	p.resetControl(features)
	p.updateCaps()
}

// SetMTU implements vhostuser.MTUSetter: the front-end is going to pass this MTU to the guest.
func (p *Port) SetMTU(mtu int) error {
	if mtu > p.cfg.MTU {
		return fmt.Errorf("MTU %d is more than the %d that the port is configured for", mtu, p.cfg.MTU)
	}
	p.mtu.Store(int64(mtu))
	p.space.setMTU(mtu)
	p.updateCaps()
	return nil
}

// updateCaps recomputes what the guest's driver can receive. A driver that was given no
// MTU may use any.
func (p *Port) updateCaps() {
	features := p.features &^ p.offloadsOff()
	caps := capsFor(features)
	if features&(1<<featureMTU) != 0 {
		caps.MTU = p.driverMTU()
	}
	if features&gsoFeatures == 0 {
		caps.MaxGS = vswitch.MaxFrameLen // not used; nonzero avoids measuring
	}
	p.caps.Store(&caps)
}

// RingStarted implements vhostuser.Device.
func (p *Port) RingStarted(r vhostuser.Ring) error {
	switch {
	case r.Index == p.control.index:
		return p.startControl(r)
	case r.Index >= 2*p.cfg.Queues:
		return fmt.Errorf("ring %d is the control queue, but CTRL_VQ and MQ are not acknowledged", r.Index)
	}
	if r.Index%2 == 0 {
		p.updateCaps() // a new driver may have other buffers
		q := p.rx[r.Index/2]
		if err := q.startDrain(r); err != nil {
			return err
		}
		q.start(r, p.features)
		p.ringsChanged()
	} else if err := p.tx[r.Index/2].start(r, p.features); err != nil {
		return fmt.Errorf("ring %d: %w", r.Index, err)
	}
	return nil
}

// RingEnabled implements vhostuser.Device.
func (p *Port) RingEnabled(index int, enabled bool) {
	if index == p.control.index || index >= 2*p.cfg.Queues {
		p.control.queue.RingEnabled(index, enabled)
		return
	}
	if index%2 != 0 {
		p.tx[index/2].enable(enabled)
		return
	}
	q := p.rx[index/2]
	if !enabled {
		p.updateReceivers(q)
		q.enable(false)
		return
	}
	q.enable(true)
	p.ringsChanged()
}

// RingStopped implements vhostuser.Device.
func (p *Port) RingStopped(index int) {
	if index == p.control.index {
		p.control.queue.RingStopped(index)
		return
	}
	if index%2 != 0 {
		p.tx[index/2].stop()
		return
	}
	q := p.rx[index/2]
	p.updateReceivers(q)
	q.stopDrain()
	q.stop()
}

// Quiesce implements vhostuser.Device.
func (p *Port) Quiesce() (resume func()) {
	resumeControl := p.control.queue.Quiesce()
	for _, q := range p.tx {
		q.mu.Lock()
	}
	for _, q := range p.rx {
		q.mu.Lock()
	}
	return func() {
		for _, q := range p.rx {
			q.mu.Unlock()
		}
		for _, q := range p.tx {
			q.mu.Unlock()
		}
		resumeControl()
	}
}

// ringsChanged recomputes which receiveqs frames can go to.
func (p *Port) ringsChanged() { p.updateReceivers(nil) }

// updateReceivers recomputes the set of receivers, without gone, which is about to be
// disabled or stopped: a worker that finds a receiveq disabled or stopped has to find another
// one in the new set.
func (p *Port) updateReceivers(gone *rxQueue) {
	p.mu.Lock()
	defer p.mu.Unlock()
	receivers := []*rxQueue{}
	for _, q := range p.rx {
		if q != gone && q.receiving() {
			receivers = append(receivers, q)
		}
	}
	was := len(*p.receivers.Load()) > 0
	p.receivers.Store(&receivers)
	if is := len(receivers) > 0; is != was {
		p.attachment.SetUp(is)
		if is {
			p.log.Info("guest is up", "queues", len(receivers))
		} else {
			p.log.Info("guest is down")
		}
	}
}

// SessionEnded has to be called when vhostuser.Serve has returned.
func (p *Port) SessionEnded() {
	p.session.Store(nil)
	p.features, p.control.index = 0, -1
	p.resetControl(0)
	p.caps.Store(&vswitch.Caps{})
}
