package netport

import (
	"sync"

	vswitch "vswitchd/switch"
)

// TransmitLater returns a Transmit that has looked up the port's only receiveq and
// gone no further.
func (p *Port) TransmitLater() func([]*vswitch.Frame) int { return (*p.receivers.Load())[0].transmit }

// Locks returns the locks of all queues.
func (p *Port) Locks() (locks []*sync.Mutex) {
	for i := range p.rx {
		locks = append(locks, &p.rx[i].mu, &p.tx[i].mu)
	}
	return locks
}
