package virtqueuetest

import "vswitchd/virtqueue"

// Flags of the two rings of a split virtqueue (virtio 1.2, sections 2.7.6 and 2.7.8).
const (
	AvailNoInterrupt = 1
	UsedNoNotify     = 1
)

// Publish makes all offered chains visible to the device, and reports whether the device asks to be
// kicked for them.
func (d *Driver) Publish() (kick bool) {
	if d.packed != nil {
		return d.packed.publish()
	}
	was, now := d.published, d.availIdx
	d.published = now
	// storeAvail is a full fence: it orders the index before the load of the device's flags or
	// event.
	d.ring.storeAvail(d.availFlags, now)
	if was == now {
		return false
	}
	if d.eventIdx() {
		// Is avail_event one of was ... now-1?
		return now-d.ring.loadAvailEvent()-1 < now-was
	}
	flags, _ := d.ring.loadUsed()
	return flags&UsedNoNotify == 0
}

// Arm asks the device for a signal when it uses the next chain, and reports whether there are used
// chains already, for which no signal may come.
func (d *Driver) Arm() (pending bool) {
	if d.packed != nil {
		return d.packed.arm(d.eventIdx())
	}
	d.availFlags = 0
	d.ring.storeUsedEvent(d.usedIdx)
	d.ring.storeAvail(d.availFlags, d.published)
	_, idx := d.ring.loadUsed()
	return idx != d.usedIdx
}

// Disarm asks the device not to signal.
func (d *Driver) Disarm() {
	if d.packed != nil {
		d.packed.disarm()
		return
	}
	if d.eventIdx() {
		// "the driver MUST set flags to 0" (2.7.7.1); the index just before the next one
		// does not come again for a long time.
		d.ring.storeUsedEvent(d.usedIdx - 1)
		return
	}
	d.availFlags = AvailNoInterrupt
	d.ring.storeAvail(d.availFlags, d.published)
}

func (d *Driver) eventIdx() bool {
	return d.cfg.Features&(1<<virtqueue.FeatureEventIdx) != 0
}
