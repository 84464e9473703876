package netport

import (
	"fmt"

	vswitch "vswitchd/switch"
	"vswitchd/virtqueue"
)

// The length of frames that the guest's driver segments, or passes up the stack unchanged,
// is limited by its receive buffers. "If VIRTIO_NET_F_MRG_RXBUF is not negotiated: If
// VIRTIO_NET_F_GUEST_TSO4, TSO6, UFO, USO4 or USO6 are negotiated, the driver SHOULD
// populate the receive queue(s) with buffers of at least 65562 bytes" (virtio 1.2, section
// 5.1.6.3.1). If a driver does not, and such frames were dropped, its TCP connections would
// stall; so it gets segments.
//
// The buffers are measured once, before the first frame. A driver that changes to smaller buffers
// loses the first frame that does not fit.

// gsoFeatures are the features by which a driver takes frames longer than its MTU.
const gsoFeatures = 1<<featureGuestTSO4 | 1<<featureGuestTSO6 | 1<<featureGuestUFO | 1<<featureGuestUSO4 | 1<<featureGuestUSO6

// Caps implements vswitch.Port.
func (p *Port) Caps() vswitch.Caps {
	c := p.caps.Load()
	if c.MaxGS == 0 {
		c = p.measure(c)
	}
	return *c
}

// measure completes caps with the length of the longest frame that fits into each queue's buffers,
// if any buffers are available yet.
func (p *Port) measure(c *vswitch.Caps) *vswitch.Caps {
	longest := 0
	for _, q := range *p.receivers.Load() {
		if n := q.longest(); n != 0 && (longest == 0 || n < longest) {
			longest = n
		}
	}
	if longest == 0 {
		return c
	}
	m := *c
	m.MaxGS = min(longest, vswitch.MaxFrameLen)
	p.caps.CompareAndSwap(c, &m) // if they have changed meanwhile, they are measured again
	return &m
}

// longest returns the length of the longest frame that fits into buffers like the next ones; 0
// if there are none.
func (q *rxQueue) longest() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.active() || q.port.failed.Load() {
		return 0
	}
	defer func() {
		if r := recover(); r != nil {
			q.fault(r)
			n = 0
		}
	}()
	q.batch.Reset()
	q.atRing = true
	_, err := q.vq.Pop(q.batch, 1)
	q.atRing = false
	if err != nil {
		q.port.fail(fmt.Errorf("ring %d: %w", q.index, err))
		return 0
	}
	if len(q.batch.Chains) == 0 {
		return 0
	}
	n = virtqueue.Len(q.batch.Chains[0].Writable)
	if q.mergeable {
		n = min(n, vswitch.MaxFrameLen) * q.size
	}
	q.vq.Unpop(q.batch, 1)
	return max(n-q.hdrLen, 0)
}

// tooSmall records that a frame does not fit into chains of room bytes, which are all that there
// are. Later frames that can be segmented will be.
func (q *rxQueue) tooSmall(f *vswitch.Frame, room int) outcome {
	if f.Offload.GSOType == vswitch.GSONone {
		return noFit
	}
	longest := max(room-q.hdrLen, 1)
	for c := q.port.caps.Load(); c.MaxGS == 0 || c.MaxGS > longest; c = q.port.caps.Load() {
		m := *c
		m.MaxGS = longest
		q.port.caps.CompareAndSwap(c, &m)
	}
	return noFit
}
