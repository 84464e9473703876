package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/port"
	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
)

// Daemon is a switch with its ports.
type Daemon struct {
	log     hclog.Logger
	start   time.Time
	sw      *vswitch.Switch
	pool    *worker.Pool
	kinds   kinds
	openers map[string]port.Opener // by kind
	over    chan ended             // ports by which no frame will pass any more

	life context.Context         // done when the daemon stops
	quit context.CancelCauseFunc // ends life

	reloading  chan struct{} // holds an element while a Reload is under way
	cfg        *config.Config
	poll       time.Duration
	committing sync.Mutex // a change is being made, or the end; ranks before mu

	mu    sync.RWMutex
	ports []*member // in the order of the configuration, uplinks first
}

// ended is a port by which no frame will pass any more, and why if that is a failure.
type ended struct {
	port    port.Port
	failure error
}

// New sets up everything that can fail: when it returns, sockets are listening
// and uplinks are attached, and Run must be called. An error that is a
// config.Errors is the operator's to mend, any other is the machine's.
func New(cfg *config.Config, log hclog.Logger) (*Daemon, error) {
	return NewContext(context.Background(), cfg, log)
}

// NewContext is New, and gives up when ctx is done.
func NewContext(ctx context.Context, cfg *config.Config, log hclog.Logger) (*Daemon, error) {
	return allKinds().newDaemon(ctx, cfg, log)
}

// newDaemon is NewContext with these kinds of port.
func (ks kinds) newDaemon(ctx context.Context, cfg *config.Config, log hclog.Logger) (*Daemon, error) {
	if errs := ks.checkMachine(cfg); len(errs) > 0 {
		return nil, errs
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
		log:   log,
		start: time.Now(),
		pool:  pool,
		sw:    vswitch.New(switchConfig(cfg)),
		kinds: ks,
		over:  make(chan ended),
		cfg:   &config.Config{},
		poll:  pollTime(cfg.Switch.Poll),

		reloading: make(chan struct{}, 1),
	}
	d.life, d.quit = context.WithCancelCause(context.Background())
	goOn := context.AfterFunc(ctx, func() { d.quit(context.Cause(ctx)) })
	d.openers, err = ks.start(port.Env{Logger: log, Switch: d.sw, Workers: pool, Over: d.tellOver})
	if err == nil {
		err = d.carryOut(d.compare(d.cfg, cfg))
	}
	if !goOn() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
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
		case e := <-d.over:
			if !d.only(e.port) {
				continue
			}
			d.close()
			d.log.Info("switch has stopped: its only front-end has left")
			return e.failure
		}
	}
}

// tellOver tells Run that a port is over.
func (d *Daemon) tellOver(ctx context.Context, p port.Port, failure error) {
	select {
	case d.over <- ended{p, failure}:
	case <-ctx.Done():
	}
}

// only reports whether p is the only port of its kind.
func (d *Daemon) only(p port.Port) bool {
	ports := d.snapshot()
	i := slices.IndexFunc(ports, func(m *member) bool { return m.port == p })
	if i < 0 { // it is being closed
		return false
	}
	for _, m := range ports {
		if m.cfg.Kind == ports[i].cfg.Kind && m.port != p {
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
	for _, o := range d.openers {
		o.Close()
	}
	d.pool.Close()
	d.sw.Close()
}

// snapshot returns the ports as they are now.
func (d *Daemon) snapshot() []*member {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Clone(d.ports)
}
