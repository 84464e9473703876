package loop

import (
	"fmt"
	"sync"

	"vswitchd/vhostuser"
	"vswitchd/virtqueue"
)

// Config describes a device.
type Config struct {
	// Vrings is the number of the device's virtqueues, from 1 to 256.
	Vrings int

	// Features are the device's specific virtio feature bits (virtio 1.2, chapter 5). Those of
	// the rings are added: VERSION_1, INDIRECT_DESC, EVENT_IDX, RING_PACKED, IN_ORDER.
	Features uint64

	// Handle processes one request. The chain is completed when Handle returns, with the
	// number of bytes that were written, also after an error, which ends the session. An
	// invalid request is answered as the device's specification says; if the
	// specification has no answer for it, Handle returns nil and the chain is completed
	// with the bytes written so far.
	//
	// Calls for one ring come one after another, in the order in which the driver made the
	// chains available. With PerRing, calls for different rings may be concurrent.
	Handle func(*Request) error

	// PerRing gives each ring its own goroutine. Otherwise all rings share one.
	PerRing bool

	// DiscardDisabled makes the device take requests from a ring that is started and disabled,
	// and complete them with length 0 without calling Handle. Otherwise the requests wait until
	// the ring is enabled.
	DiscardDisabled bool
}

// A Request is a chain that the driver made available. It is valid until Handle returns. The
// embedded Reader reads the bytes from the driver, and the Writer writes the answer.
type Request struct {
	virtqueue.Reader
	virtqueue.Writer

	Ring     int    // the index of the virtqueue
	Features uint64 // acknowledged by the driver
}

// A Device implements vhostuser.Device for one front-end after another. Optional interfaces (a
// configuration space: vhostuser.Configurer) can be implemented by a type that embeds Device.
type Device struct {
	cfg Config

	// State of the session. Only its goroutine writes these, while no ring runs.
	session  *vhostuser.Session
	features uint64

	mu    sync.Mutex // held by Look, and by the session's goroutine when it changes rings
	rings []*ring    // by index; nil: not running
	all   *runner    // shared by all rings; nil: no ring runs, or PerRing
}

var (
	_ vhostuser.Device     = (*Device)(nil)
	_ vhostuser.Sequential = (*Device)(nil)
)

// New returns a device. It holds no resources until a session starts a ring.
func New(cfg Config) *Device {
	if cfg.Handle == nil || cfg.Vrings < 1 || cfg.Vrings > 256 {
		panic(fmt.Sprintf("loop: device with %d vrings (want 1 to 256), Handle %t", cfg.Vrings, cfg.Handle != nil))
	}
	return &Device{cfg: cfg, rings: make([]*ring, cfg.Vrings)}
}

// Attach implements vhostuser.Device.
func (d *Device) Attach(s *vhostuser.Session) { d.session, d.features = s, 0 }

// Features implements vhostuser.Device.
func (d *Device) Features() uint64 {
	return d.cfg.Features |
		1<<virtqueue.FeatureVersion1 |
		1<<virtqueue.FeatureIndirectDesc |
		1<<virtqueue.FeatureEventIdx |
		1<<virtqueue.FeatureRingPacked |
		1<<virtqueue.FeatureInOrder
}

// ProtocolFeatures are the protocol features of most devices. The session drops those for which a
// device has to implement more interfaces.
const ProtocolFeatures uint64 = 1<<vhostuser.ProtocolFeatureMQ |
	1<<vhostuser.ProtocolFeatureLogShmFD |
	1<<vhostuser.ProtocolFeatureReplyAck |
	1<<vhostuser.ProtocolFeatureBackendReq |
	1<<vhostuser.ProtocolFeatureConfig |
	1<<vhostuser.ProtocolFeatureInflightShmFD |
	1<<vhostuser.ProtocolFeatureResetDevice |
	1<<vhostuser.ProtocolFeatureInbandNotifications |
	1<<vhostuser.ProtocolFeatureConfigureMemSlots |
	1<<vhostuser.ProtocolFeatureStatus

// ProtocolFeatures implements vhostuser.Device.
func (d *Device) ProtocolFeatures() uint64 { return ProtocolFeatures }

// Sequential implements vhostuser.Sequential: chains are completed in order.
func (d *Device) Sequential() bool { return true }

// QueueNum implements vhostuser.Device: the unit is a virtqueue.
func (d *Device) QueueNum() uint64 { return uint64(d.cfg.Vrings) }

// MaxVrings implements vhostuser.Device.
func (d *Device) MaxVrings() int { return d.cfg.Vrings }

// FeaturesSet implements vhostuser.Device.
func (d *Device) FeaturesSet(features uint64) { d.features = features }

// RingStarted implements vhostuser.Device.
func (d *Device) RingStarted(r vhostuser.Ring) error {
	run := d.all
	if run == nil {
		var err error
		if run, err = startRunner(); err != nil {
			return fmt.Errorf("ring %d: %w", r.Index, err)
		}
	}
	ring := &ring{
		cfg: &d.cfg, session: d.session, runner: run, kick: r.Kick,
		vq: r.Queue, enabled: r.Enabled, batch: virtqueue.NewBatch(batchSize),
		request: Request{Ring: r.Index, Features: d.features},
	}
	if err := run.add(ring); err != nil {
		if run != d.all {
			run.stop()
		}
		return fmt.Errorf("ring %d: %w", r.Index, err)
	}
	d.mu.Lock()
	d.rings[r.Index] = ring
	d.mu.Unlock()
	if !d.cfg.PerRing {
		d.all = run
	}
	return nil
}

// RingEnabled implements vhostuser.Device.
func (d *Device) RingEnabled(index int, enabled bool) {
	if r := d.rings[index]; r != nil {
		r.enable(enabled)
	}
}

// RingStopped implements vhostuser.Device.
func (d *Device) RingStopped(index int) {
	r := d.rings[index]
	d.mu.Lock()
	d.rings[index] = nil
	d.mu.Unlock()
	r.stop()
	if left := r.runner.remove(r); left == 0 {
		r.runner.stop()
		d.all = nil
	}
}

// Look calls f with the queue of a running ring, and whether the ring is enabled, while the ring is
// idle. It reports whether the ring is running. It may be called from any goroutine. f has to
// recover from faults in guest memory itself.
func (d *Device) Look(index int, f func(q *virtqueue.Queue, enabled bool)) bool {
	d.mu.Lock()
	r := d.rings[index]
	d.mu.Unlock()
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.vq == nil {
		return false
	}
	f(r.vq, r.enabled)
	return true
}

// Quiesce implements vhostuser.Device. Chains are flushed before a ring's lock is released.
func (d *Device) Quiesce() (resume func()) {
	var held []*sync.Mutex
	for _, r := range d.rings {
		if r != nil {
			r.mu.Lock()
			held = append(held, &r.mu)
		}
	}
	return func() {
		for _, mu := range held {
			mu.Unlock()
		}
	}
}
