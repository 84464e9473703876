package loop

import (
	"fmt"
	"sync"

	"vswitchd/vhostuser"
	"vswitchd/virtqueue"
)

// batchSize is the number of requests of one ring that are processed before other rings get their
// turn.
const batchSize = 64

// A ring is a running virtqueue. Its runner's goroutine works on it.
type ring struct {
	cfg     *Config
	session *vhostuser.Session
	runner  *runner
	kick    int // the eventfd for kicks, owned by the session; -1: none

	// mu is held for a batch, and by the session's goroutine to change the fields below.
	mu      sync.Mutex
	vq      *virtqueue.Queue // nil: stopped, or its session has to end
	enabled bool
	polling bool // the driver has been asked not to kick
	batch   *virtqueue.Batch
	request Request
}

func (r *ring) enable(on bool) {
	r.mu.Lock()
	r.enabled = on
	r.mu.Unlock()
	if on {
		r.runner.schedule(r)
	}
}

// stop takes the queue away. After it returns, the queue and guest memory are not used any more.
func (r *ring) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.vq = nil
}

// work processes a batch of requests. It reports whether there may be more: if not, the driver has
// been asked to kick.
func (r *ring) work() (more bool) {
	r.mu.Lock()
	defer r.leave(&more)
	if r.vq == nil || !r.enabled && !r.cfg.DiscardDisabled {
		return false
	}
	r.batch.Reset()
	n, err := r.vq.Pop(r.batch, batchSize)
	if err != nil {
		r.fail(err)
		return false
	}
	if n == 0 {
		r.polling = false
		return r.vq.Arm()
	}
	if !r.polling {
		r.polling = true
		r.vq.Disarm()
	}
	for i := range r.batch.Chains {
		if err = r.process(&r.batch.Chains[i]); err != nil {
			break
		}
	}
	r.vq.Flush()
	if err != nil {
		r.fail(err)
		return false
	}
	return true
}

// process handles one chain and completes it. An invalid chain is completed with length 0.
func (r *ring) process(c *virtqueue.Chain) error {
	req := &r.request
	req.Reader, req.Writer = c.Reader(), c.Writer()
	var err error
	if c.Err == nil && r.enabled {
		err = r.cfg.Handle(req)
	}
	r.vq.Complete(c, req.Written())
	return err
}

// fail ends the session. The ring is not touched any more.
func (r *ring) fail(reason error) {
	r.vq = nil
	r.session.Fail(fmt.Errorf("ring %d: %w", r.request.Ring, reason))
}

// leave ends a batch, also one that a fault in the front-end's memory has interrupted. It has to be
// deferred directly.
func (r *ring) leave(more *bool) {
	if p := recover(); p != nil {
		fault, ok := p.(interface{ Addr() uintptr })
		if !ok || !r.session.Contains(fault.Addr()) {
			r.mu.Unlock()
			panic(p) // a bug in the device
		}
		r.fail(fmt.Errorf("%w at %#x", ErrMemoryGone, fault.Addr()))
		*more = false
	}
	r.mu.Unlock()
}
