package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/capture"
	"vswitchd/internal/cgroup"
	"vswitchd/internal/config"
	"vswitchd/internal/port"
	"vswitchd/internal/sandbox"
	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
)

// Daemon is a running switch with its workers and ports.
type Daemon struct {
	log     hclog.Logger
	start   time.Time
	sw      *vswitch.Switch
	capture *capture.Pool
	pool    *worker.Pool
	kinds   kinds
	events  *eventSource
	sandbox *sandbox.Sandbox // set by Confine, before there are changes and requests
	memory  *cgroup.Memory   // likewise
	resets  baselines
	openers map[string]port.Opener // by kind
	over    chan ended             // ports that will never pass a frame again

	life context.Context         // done when the daemon stops
	quit context.CancelCauseFunc // ends life

	reloading  chan struct{} // semaphore: holds an element while a Reload runs
	cfg        *config.Config
	committing sync.Mutex // held while a change is committed and while close runs; ranks before mu

	mu    sync.RWMutex
	ports []*member // in the order of the configuration, uplinks first
}

// ended is a port that will never pass a frame again; failure is the cause, nil if the port ended
// normally.
type ended struct {
	port    port.Port
	failure error
}

// New performs every step of the start that can fail: when it returns without an error, the sockets
// are listening and the uplinks are attached, and the caller must call Run. An error of type
// config.Errors is an error of the configuration; any other is an error of the machine.
func New(cfg *config.Config, log hclog.Logger) (*Daemon, error) {
	return NewContext(context.Background(), cfg, log)
}

// NewContext is like New, but returns the cause of ctx when ctx is done.
func NewContext(ctx context.Context, cfg *config.Config, log hclog.Logger) (*Daemon, error) {
	return allKinds().newDaemon(ctx, cfg, log)
}

// newDaemon is NewContext with the kinds of port ks.
func (ks kinds) newDaemon(ctx context.Context, cfg *config.Config, log hclog.Logger) (*Daemon, error) {
	d, err := ks.emptyDaemon(cfg, log)
	if err != nil {
		return nil, err
	}
	if err := d.whileStarting(ctx, func() error { return d.carryOut(d.compare(d.cfg, cfg, false)) }); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// whileStarting calls f, and returns the cause of ctx if ctx is done before f returns.
func (d *Daemon) whileStarting(ctx context.Context, f func() error) error {
	stop := context.AfterFunc(ctx, func() { d.quit(context.Cause(ctx)) })
	err := f()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// emptyDaemon makes a daemon without ports, with the workers and the switch that cfg describes.
func (ks kinds) emptyDaemon(cfg *config.Config, log hclog.Logger) (*Daemon, error) {
	if errs := ks.checkMachine(cfg); len(errs) > 0 {
		return nil, errs
	}
	pool, err := worker.New(worker.Config{
		Workers: cfg.Switch.Workers,
		CPUs:    cfg.Switch.CPUs,
		Poll:    pollTime(cfg.Switch.Poll),
		Latency: cfg.Switch.Latency,
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

		reloading: make(chan struct{}, 1),
	}
	d.capture = capture.NewPool(d.sw)
	d.events = &eventSource{d: d}
	d.sandbox, d.memory = &sandbox.Sandbox{}, &cgroup.Memory{}
	d.life, d.quit = context.WithCancelCause(context.Background())
	d.openers, err = ks.start(port.Env{Logger: log, Switch: d.sw, Workers: pool, Over: d.reportOver, Report: d.events.report})
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func pollTime(p config.Poll) time.Duration {
	switch {
	case p.Always:
		return worker.PollAlways
	case p.Adaptive:
		return worker.PollAdaptive
	}
	return p.For
}

// Run forwards frames until ctx is done. Then it closes all ports, removes the sockets that the
// daemon made and returns nil.
//
// Like other back-end programs, Run also returns when the only possible front-end has left:
// vswitchd was started with a connection to this front-end and has no other port for guests. Run
// then returns the error that ended the session, or nil if the front-end closed the connection in
// order.
func (d *Daemon) Run(ctx context.Context) error {
	tick := time.NewTicker(conflictCheck)
	defer tick.Stop()
	conflicts := &conflictLog{log: d.log, warned: make(map[conflictKey]*conflictState)}
	loops := &loopLog{log: d.log, seen: make(map[string]time.Time)}
	for {
		select {
		case now := <-tick.C:
			flaps, blocks := d.sw.Conflicts(), d.sw.LoopReports()
			conflicts.report(now, flaps)
			loops.report(now, blocks)
			d.events.reported(flaps, blocks)
		case <-ctx.Done():
			d.close()
			return nil
		case e := <-d.over:
			if !d.onlyOfKind(e.port) {
				continue
			}
			d.close()
			d.log.Info("stopping: the only front-end that there can be has left")
			return e.failure
		}
	}
}

// Answer returns when each worker has finished the round that it was in, and the list of ports
// could be read. It does not return while one of them is stuck.
func (d *Daemon) Answer() {
	d.snapshot()
	d.pool.Answer()
}

// reportOver implements port.Env.Over: it reports to Run that a port will never pass a frame again.
func (d *Daemon) reportOver(ctx context.Context, p port.Port, failure error) {
	select {
	case d.over <- ended{p, failure}:
	case <-ctx.Done():
	}
}

// onlyOfKind reports whether p is the only port of its kind.
func (d *Daemon) onlyOfKind(p port.Port) bool {
	ports := d.snapshot()
	i := slices.IndexFunc(ports, func(m *member) bool { return m.port == p })
	if i < 0 { // p is being closed
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
	d.quit(errStopped) // aborts a running reload that is waiting
	select {
	case d.reloading <- struct{}{}:
	case <-time.After(abortTimeout):
		d.log.Warn("a reload does not finish; stopping without it")
	}
	d.committing.Lock()
	defer d.committing.Unlock()
	d.events.hub.Close()
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
	d.memory.Close()
}

// snapshot returns a copy of the current list of ports.
func (d *Daemon) snapshot() []*member {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Clone(d.ports)
}
