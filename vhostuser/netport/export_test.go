package netport

import (
	"sync"

	vswitch "vswitchd/switch"
)

// TransmitLater returns a Transmit that has chosen the port's first receiveq and not yet locked it.
func (p *Port) TransmitLater() func([]*vswitch.Frame) int {
	set := p.receivers.Load()
	return func(frames []*vswitch.Frame) int { return p.transmitTo((*set)[0], set, frames) }
}

// Locks returns the locks of all queues.
func (p *Port) Locks() (locks []*sync.Mutex) {
	for i := range p.rx {
		locks = append(locks, &p.rx[i].mu, &p.tx[i].mu)
	}
	return locks
}
