package worker

import (
	"errors"
	"time"
)

// ErrStuck is returned by Pool.Rest if a worker does not finish its round.
var ErrStuck = errors.New("a worker does not come to rest")

// Rest stops the workers between two rounds, until Work is called: no method of any source runs
// meanwhile, except Disarm for sources that are added. Sources can be added and removed as usual.
// If a worker takes longer than wait, Rest undoes what it has done and returns ErrStuck.
func (p *Pool) Rest(wait time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	replies := make(chan error, len(p.workers))
	var err error
	for _, w := range p.workers {
		err = errors.Join(err, w.send(command{rest: true, reply: replies}))
	}
	for range p.workers {
		if err != nil {
			break
		}
		select {
		case <-replies:
		case <-t.C:
			err = ErrStuck
		}
	}
	if err != nil {
		p.work()
	}
	return err
}

// Work ends what Rest began.
func (p *Pool) Work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.work()
}

func (p *Pool) work() {
	for _, w := range p.workers {
		_ = w.send(command{work: true}) // fails only if the worker's eventfd is broken: then nothing works
	}
}
