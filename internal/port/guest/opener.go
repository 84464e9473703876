package guest

import (
	"context"
	"fmt"
	"sync"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/port"
	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
)

// An opener opens the guests' ports of a daemon and holds the state that they share.
type opener struct {
	env       port.Env
	share     *vhostuser.Pool // divides the process's resource limits among front-ends
	hold      *netport.HoldMemory
	connector func(context.Context, *Settings) (vhostuser.Connector, error)
	backoff   backoff      // initial state for new ports
	faults    chan uintptr // addresses of memory faults, to be attributed to a port
	quit      chan struct{}
	done      chan struct{} // closed when handleFaults has returned

	mu    sync.Mutex
	ports map[*Port]bool // open ports
}

// Open implements port.Opener.
func (o *opener) Open(ctx context.Context, p *config.Port, c *vswitch.Counters) (port.Port, error) {
	conns, err := o.connector(ctx, of(p))
	if err != nil {
		return nil, err
	}
	g, err := o.openOn(p, c, conns)
	if err != nil {
		return nil, err // and no port.Port that has a nil *Port
	}
	return g, nil
}

// openOn opens a port whose front-ends come from conns, which belongs to the port then, and is
// closed after an error.
func (o *opener) openOn(p *config.Port, c *vswitch.Counters, conns vhostuser.Connector) (*Port, error) {
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

// Changed implements port.Opener: it warns about limits of the process that are too low for the
// current ports.
func (o *opener) Changed() {
	for _, line := range o.share.Scarce() {
		o.env.Logger.Warn("front-ends may be refused", "reason", line)
	}
}

// Limits implements port.Opener.
func (o *opener) Limits() (list []control.Limit) {
	for _, s := range o.share.Shares() {
		list = append(list, control.Limit{Resource: s.Resource, Used: s.Used, Limit: s.Limit, SetBy: s.SetBy})
	}
	return list
}

// Close implements port.Opener.
func (o *opener) Close() {
	close(o.quit)
	<-o.done
}

// forget removes a port that is being closed.
func (o *opener) forget(g *Port) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.ports, g)
}

// reportFault is called by the data plane with the address of a memory fault that does not belong
// to the port being served. It does not block.
func (o *opener) reportFault(addr uintptr) {
	select {
	case o.faults <- addr:
	default: // queue full: the queued faults are most likely of the same port
	}
}

// handleFaults passes each reported fault to the port whose memory contains the address, until
// Close.
func (o *opener) handleFaults() {
	defer close(o.done)
	for {
		var addr uintptr
		select {
		case <-o.quit:
			return
		case addr = <-o.faults:
		}
		o.mu.Lock()
		handled := false
		for g := range o.ports {
			handled = handled || g.dev.HandleFault(addr)
		}
		o.mu.Unlock()
		if !handled { // the port has been closed meanwhile
			o.env.Logger.Debug("memory fault outside the memory of any port", "address", fmt.Sprintf("%#x", addr))
		}
	}
}
