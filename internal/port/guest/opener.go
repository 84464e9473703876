package guest

import (
	"context"
	"fmt"
	"sync"

	"vswitchd/internal/config"
	"vswitchd/internal/port"
	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
)

// An opener opens the guests' ports of a daemon, and has what they share.
type opener struct {
	env       port.Env
	share     *vhostuser.Pool // what front-ends may take of what the process has
	connector func(context.Context, *Settings) (vhostuser.Connector, error)
	haste     haste        // of new ports
	blamed    chan uintptr // addresses of faults, on their way to whose memory it was
	quit      chan struct{}
	done      chan struct{} // closed when charge has ended

	mu    sync.Mutex
	ports map[*Port]bool // that are open
}

// Open implements port.Opener.
func (o *opener) Open(ctx context.Context, p *config.Port, c *vswitch.Counters) (port.Port, error) {
	conns, err := o.connector(ctx, of(p))
	if err != nil {
		return nil, err
	}
	g, err := o.newPort(p, c, conns)
	if err != nil {
		_ = conns.Close()
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ports[g] = true
	return g, nil
}

// Changed implements port.Opener: it warns of limits of the process that are too low for the ports
// that there are.
func (o *opener) Changed() {
	for _, line := range o.share.Scarce() {
		o.env.Logger.Warn("front-ends may be refused", "reason", line)
	}
}

// Close implements port.Opener.
func (o *opener) Close() {
	close(o.quit)
	<-o.done
}

// forget is called for a port that is closed.
func (o *opener) forget(g *Port) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.ports, g)
}

// blame is called by the data plane with the address of a fault in the memory of a
// port that it does not know.
func (o *opener) blame(addr uintptr) {
	select {
	case o.blamed <- addr:
	default: // the same port's, most likely
	}
}

// charge charges faults to the ports whose memory it was, until Close.
func (o *opener) charge() {
	defer close(o.done)
	for {
		var addr uintptr
		select {
		case <-o.quit:
			return
		case addr = <-o.blamed:
		}
		o.mu.Lock()
		charged := false
		for g := range o.ports {
			charged = charged || g.dev.HandleFault(addr)
		}
		o.mu.Unlock()
		if !charged { // the port has gone meanwhile
			o.env.Logger.Debug("memory fault in nobody's memory", "address", fmt.Sprintf("%#x", addr))
		}
	}
}
