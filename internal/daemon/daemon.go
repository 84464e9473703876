package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
	"vswitchd/uplink"
	"vswitchd/vhostuser"
)

// Daemon is a switch with its ports.
type Daemon struct {
	log    hclog.Logger
	start  time.Time
	sw     *vswitch.Switch
	share  *vhostuser.Pool // what front-ends may take of what the process has
	pool   *worker.Pool
	nics   uplink.Interfaces // which uplink has which interface
	blamed chan uintptr      // addresses of faults, on their way to whose memory it was
	over   chan *guest       // ports that no front-end can connect to any more

	life context.Context         // done when the daemon stops
	quit context.CancelCauseFunc // ends life

	reloading  chan struct{} // holds an element while a Reload is under way
	cfg        *config.Config
	poll       time.Duration
	committing sync.Mutex // a change is being made, or the end; ranks before mu

	mu    sync.RWMutex
	ports []port // in the order of the configuration, uplinks first
}

// A port is a guest's port or an uplink.
type port interface {
	name() string
	attachment() *vswitch.Attachment
	start(a *vswitch.Attachment)     // once, when it has its place in the switch
	adopt(p *config.Port, r readied) // it is to be p from now on; its attachment is that already
	close()
	info() control.PortInfo
	detail() control.PortDetail
	blame(addr uintptr) bool
}

// New sets up everything that can fail: when it returns, sockets are listening
// and uplinks are attached, and Run must be called. An error that is a
// config.Errors is the operator's to mend, any other is the machine's.
func New(cfg *config.Config, log hclog.Logger) (*Daemon, error) {
	return NewContext(context.Background(), cfg, log)
}

// NewContext is New, and gives up when ctx is done.
func NewContext(ctx context.Context, cfg *config.Config, log hclog.Logger) (*Daemon, error) {
	if errs := checkMachine(cfg); len(errs) > 0 {
		return nil, errs
	}
	capacity, err := vhostuser.ProcessCapacity()
	if err != nil {
		return nil, err
	}
	pool, err := worker.New(worker.Config{
		Workers: cfg.Switch.Workers,
		CPUs:    cfg.Switch.CPUs,
		Poll:    pollTime(cfg.Switch.Poll),
	})
	if err != nil {
		return nil, fmt.Errorf("starting workers: %w", err)
	}
	d := &Daemon{
		log:    log,
		start:  time.Now(),
		pool:   pool,
		share:  vhostuser.NewPool(capacity),
		sw:     vswitch.New(switchConfig(cfg)),
		blamed: make(chan uintptr, 64),
		over:   make(chan *guest),
		cfg:    &config.Config{},
		poll:   pollTime(cfg.Switch.Poll),

		reloading: make(chan struct{}, 1),
	}
	d.life, d.quit = context.WithCancelCause(context.Background())
	goOn := context.AfterFunc(ctx, func() { d.quit(context.Cause(ctx)) })
	err = d.carryOut(d.compare(d.cfg, cfg))
	if !goOn() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	log.Debug("limits of the process", "address-space", capacity.AddressSpace, "mappings", capacity.Mappings, "files", capacity.FileDescriptors)
	d.warnScarce()
	return d, nil
}

// warnScarce warns of limits of the process that are too low for the ports that there are.
func (d *Daemon) warnScarce() {
	for _, line := range d.share.Scarce() {
		d.log.Warn("front-ends may be refused", "reason", line)
	}
}

func pollTime(p config.Poll) time.Duration {
	if p.Always {
		return worker.PollAlways
	}
	return p.For
}

// Run moves frames until ctx is done, then takes everything down, removes the
// sockets that it made and returns nil.
//
// It also ends when the only front-end that there can be has left, because vswitchd was
// started with a connection to it and has no other guest's port; as other back-end
// programs do. It returns why, unless the front-end just closed the connection.
func (d *Daemon) Run(ctx context.Context) error {
	d.log.Info("switch is running", "ports", len(d.snapshot()), "workers", len(d.pool.Stats()))
	tick := time.NewTicker(conflictCheck)
	defer tick.Stop()
	conflicts := &conflictLog{log: d.log, told: make(map[conflictKey]*conflictState)}
	for {
		select {
		case now := <-tick.C:
			conflicts.tell(now, d.sw.Conflicts())
		case <-ctx.Done():
			d.close()
			d.log.Info("switch has stopped")
			return nil
		case addr := <-d.blamed:
			d.charge(addr)
		case g := <-d.over:
			if !d.only(g) {
				continue
			}
			d.close()
			d.log.Info("switch has stopped: its only front-end has left")
			return g.failure
		}
	}
}

// only reports whether g is the only guest's port.
func (d *Daemon) only(g *guest) bool {
	for _, p := range d.snapshot() {
		if other, ok := p.(*guest); ok && other != g {
			return false
		}
	}
	return true
}

func (d *Daemon) close() {
	d.quit(errStopped) // a reload that waits for something gives up
	select {
	case d.reloading <- struct{}{}:
	case <-time.After(patience):
		d.log.Warn("a reload hangs and is left behind")
	}
	d.committing.Lock()
	defer d.committing.Unlock()
	d.mu.Lock()
	ports := d.ports
	d.ports = nil
	d.mu.Unlock()
	closeAll(ports)
	d.pool.Close()
	d.sw.Close()
}

// closeAll closes ports all at the same time: each may have to wait for its guest's
// last batch.
func closeAll(ports []port) {
	var wg sync.WaitGroup
	for _, p := range ports {
		wg.Go(p.close)
	}
	wg.Wait()
}

// blame is called by the data plane with the address of a fault in the memory of a
// port that it does not know.
func (d *Daemon) blame(addr uintptr) {
	select {
	case d.blamed <- addr:
	default: // the same port's, most likely
	}
}

func (d *Daemon) charge(addr uintptr) {
	for _, p := range d.snapshot() {
		if p.blame(addr) {
			return
		}
	}
	// The port has gone meanwhile.
	d.log.Debug("memory fault in nobody's memory", "address", fmt.Sprintf("%#x", addr))
}

// snapshot returns the ports as they are now.
func (d *Daemon) snapshot() []port {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return append([]port(nil), d.ports...)
}
