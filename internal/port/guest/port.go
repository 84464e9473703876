package guest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/port"
	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

// errClosing is the cause of a session's end when its port is closed.
var errClosing = errors.New("port is being closed")

// A Port is a port for a virtual machine: a network device that exists as long as the port, and the
// front-ends that connect to the device, one at a time.
type Port struct {
	log     port.Log
	opener  *opener
	dev     *netport.Port
	account *vhostuser.Account
	pace    vhostuser.Pace
	ctx     context.Context
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when serve has returned
	begun   bool
	penalty penalty // used only by the goroutine of serve

	// The goroutine of serve has the gate for all that it does, and leaves it while it waits.
	gate vhostuser.Gate

	// Of the current session; used only by the goroutine of serve.
	stopWatching context.CancelFunc
	watched      sync.WaitGroup

	resumption *resumption   // a session that goes on; nil: none
	running    chan struct{} // closed when that session's rings have started

	abandoned int // consecutive front-ends that left before SET_FEATURES; used only by the goroutine of serve

	mu             sync.Mutex
	cfg            *config.Port
	set            *Settings // the kind's settings in cfg
	conns          vhostuser.Connector
	connecting     context.Context // for waiting on conns; done when conns is replaced
	stopConnecting context.CancelCauseFunc
	backoff        backoff
	connected      bool
	current        *vhostuser.Session // nil: none has begun
	sessions       uint64             // front-ends that have connected so far
	peer           int                // PID of the current or last front-end; 0: not known
	waiting        bool               // another front-end is waiting for the port
	lastHint       hint               // likely cause of the front-ends' problem
	since          time.Time          // start of the current session
	lastEnd        string             // how the previous session ended; "": there was none
	endedAt        time.Time          // end of the previous session
	resets         control.Tally
	lastErr        string // error that ended the last session, "" if in order; or why no front-end can connect
	gone           bool   // no further front-end can connect
	failure        error  // if gone: the error that ended the last session; nil if it ended in order
}

// newPort makes a guest's port that accepts front-ends from conns.
func (o *opener) newPort(p *config.Port, c *vswitch.Counters, conns vhostuser.Connector) (*Port, error) {
	cfg := of(p)
	g := &Port{
		log:     port.NewLog(o.env.Logger, p.Name),
		opener:  o,
		cfg:     p,
		set:     cfg,
		conns:   conns,
		resets:  make(control.Tally),
		backoff: o.backoff,
		done:    make(chan struct{}),
		gate:    vhostuser.NewGate(),
		running: make(chan struct{}),
	}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	g.connecting, g.stopConnecting = context.WithCancelCause(g.ctx)
	var err error
	g.dev, err = netport.New(netport.Config{
		Queues:     cfg.Queues,
		MTU:        cfg.MTU,
		MAC:        guestMAC(p),
		Port:       vswitch.PortConfig{Name: p.Name, Counters: c},
		Offloads:   cfg.Offloads,
		Logger:     g.log,
		Start:      func(s worker.Source) error { return o.env.Workers.AddTo(g, s) },
		Stop:       func(s worker.Source) { o.env.Workers.Remove(s) },
		QueueLen:   cfg.QueueLen,
		HoldMemory: o.hold,
		StartResident: func(s worker.Source) (wake func(), err error) {
			return o.env.Workers.AddResident(g, s)
		},
		ForeignFault: o.reportFault,
	})
	if err != nil {
		return nil, err
	}
	g.account = o.share.Open(vhostuser.Limits{
		Memory: cfg.MaxMemory, MemoryName: "max_memory",
		DiskMemory: cfg.DiskMemory, DiskMemoryName: "disk_memory",
		Vrings: g.dev.MaxVrings(),
	})
	return g, nil
}

// Transmitter implements port.Port.
func (g *Port) Transmitter() vswitch.Port { return g.dev }

// Begin implements port.Port.
func (g *Port) Begin(a *vswitch.Attachment) {
	g.begun = true
	g.dev.Join(a)
	if l, ok := g.conns.(*vhostuser.Listener); ok {
		l.Own()
	}
	go g.serve(g.ctx)
}

// errConnectorReplaced is the cause when a port stops waiting on a socket that was replaced.
var errConnectorReplaced = errors.New("the port's socket was replaced")

// setConnector makes conns the source of the next front-end. A connected front-end stays connected.
func (g *Port) setConnector(conns vhostuser.Connector) {
	g.mu.Lock()
	old, stopConnecting := g.conns, g.stopConnecting
	g.conns = conns
	g.connecting, g.stopConnecting = context.WithCancelCause(g.ctx)
	g.mu.Unlock()
	stopConnecting(errConnectorReplaced)
	if err := old.Close(); err != nil {
		g.log.Warn("closing the socket failed", "error", err)
	}
}

// connect waits for the next front-end. If the connector is replaced meanwhile, connect continues
// with the new one.
func (g *Port) connect(ctx context.Context) (*net.UnixConn, error) {
	for {
		g.mu.Lock()
		conns, connecting := g.conns, g.connecting
		g.mu.Unlock()
		conn, err := g.connectBy(connecting, conns)
		if connecting.Err() == nil || ctx.Err() != nil {
			return conn, err
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

// connectBy waits for the next front-end. Where that is possible, it accepts none without having
// the gate.
func (g *Port) connectBy(ctx context.Context, conns vhostuser.Connector) (*net.UnixConn, error) {
	g.gate.Leave()
	w, ok := conns.(waiter)
	if !ok {
		defer g.gate.Enter()
		return conns.Connect(ctx)
	}
	err := w.Wait(ctx)
	g.gate.Enter()
	if err != nil {
		return nil, err
	}
	return conns.Connect(ctx)
}

func (g *Port) connector() vhostuser.Connector {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conns
}

// retryAfter is how long a port waits after it failed to accept a front-end, for example because
// too many files are open.
const retryAfter = time.Second

// serve serves front-ends, one at a time, until the port is closed. If no further front-end can
// connect, serve reports this to the daemon and returns.
func (g *Port) serve(ctx context.Context) {
	defer close(g.done)
	g.gate.Enter()
	defer g.gate.Leave()
	if g.resumption != nil {
		g.resume(ctx)
	}
	for {
		conn, err := g.connect(ctx)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return
		case errors.Is(err, vhostuser.ErrOnlyConnection):
			g.setGone(err)
			g.log.Info("no front-end can connect any more", "reason", err)
			g.opener.env.Over(ctx, g, g.failure)
			return
		case err != nil:
			g.log.Error("no front-end can connect for now", "error", err)
			g.update(func() { g.lastErr = err.Error() })
			g.pause(ctx, retryAfter)
		default:
			g.session(ctx, conn)
		}
	}
}

// pause waits for the given time, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// pause is the function pause without the gate.
func (g *Port) pause(ctx context.Context, d time.Duration) {
	g.gate.Leave()
	defer g.gate.Enter()
	pause(ctx, d)
}

// session serves one front-end and then waits for the delay that conclude returns.
func (g *Port) session(ctx context.Context, conn *net.UnixConn) {
	began := time.Now()
	g.update(func() { g.connected, g.since, g.peer, g.waiting = true, began, peerOf(conn), false; g.sessions++ })
	level := hclog.Info
	if g.abandoned >= abandonedLimit {
		level = hclog.Debug // the log already has abandonedLimit of these messages
	}
	g.log.Log(level, "front-end connected", "pid", g.peer)
	g.report("connected", nil)

	g.dev.Renew()
	g.account.SetVrings(g.dev.MaxVrings())

	g.run(ctx, began, func() error { return vhostuser.Serve(ctx, conn, g.dev, g.options()) })
}

// options are those of a session.
func (g *Port) options() vhostuser.Options {
	return vhostuser.Options{
		Logger: g.log, Account: g.account, Pace: &g.pace, WatchHugePages: true, Begun: g.sessionBegun, Gate: g.gate,
	}
}

// sessionBegun is called with each session when it begins.
func (g *Port) sessionBegun(s *vhostuser.Session) {
	g.update(func() { g.current = s })
	var watching context.Context
	watching, g.stopWatching = context.WithCancel(g.ctx)
	g.watched.Go(func() { g.supervise(watching, s) })
}

// run serves a session, and then waits for the delay that conclude returns.
func (g *Port) run(ctx context.Context, began time.Time, serve func() error) {
	err := serve()
	var c vhostuser.Progress
	if g.current != nil {
		g.stopWatching()
		g.watched.Wait()
		c = g.current.Progress()
	}
	g.dev.SessionEnded()
	g.update(func() {
		g.connected, g.waiting, g.lastErr, g.lastEnd, g.endedAt = false, false, "", err.Error(), time.Now()
		g.current = nil
		if !orderly(err) {
			g.lastErr = err.Error()
			g.resets[resetReason(err)]++
		}
	})
	g.reportEnd(err)
	if ctx.Err() != nil {
		g.log.Info("front-end was disconnected", "reason", err, "pid", g.peer)
		return
	}
	g.pause(ctx, g.conclude(began, c, err))
}

// abandonedLimit is the number of consecutive front-ends that leave before SET_FEATURES until a
// hint is logged. Further ones are logged at level debug only.
const abandonedLimit = 3

// conclude logs how a session ended and returns how long the port accepts no front-end afterwards.
func (g *Port) conclude(began time.Time, c vhostuser.Progress, err error) (wait time.Duration) {
	g.update(func() { wait = g.backoff.wait(began, time.Now(), orderly(err) && c.SetFeatures) })
	likely := endHint(c, err, int(g.dev.QueueNum()))
	switch {
	case c.SetFeatures:
		g.abandoned = 0
	case orderly(err):
		g.abandoned++
	}
	switch {
	case !orderly(err):
		g.log.Error("port was reset", "reason", err, "pid", g.peer)
	case g.abandoned > abandonedLimit:
		g.log.Debug("front-end left", "pid", g.peer)
	default:
		g.log.Info("front-end left", "pid", g.peer)
	}
	if likely != (hint{}) && (!orderly(err) || errors.Is(c.Refused, virtqueue.ErrAddress) || g.abandoned >= abandonedLimit) {
		g.setHint(likely)
	} else if likely == (hint{}) && time.Since(began) >= shortSession {
		g.setHint(hint{})
	}
	if errors.Is(err, vhostuser.ErrJammed) {
		wait = max(wait, g.penalty.due(time.Now()))
		g.log.Warn("no front-end is accepted for some time", "for", wait)
	}
	return wait
}

// setGone records that no further front-end can connect, and why.
func (g *Port) setGone(reason error) {
	g.update(func() {
		g.gone = true
		if g.lastErr != "" {
			g.failure = fmt.Errorf("port %s: %s", g.cfg.Name, g.lastErr)
		} else {
			g.lastErr = reason.Error()
		}
	})
}

// update calls change with mu held.
func (g *Port) update(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

// adopt applies the configuration p. If conns is not nil, it becomes the source of front-ends.
func (g *Port) adopt(p *config.Port, conns vhostuser.Connector) {
	s := of(p)
	g.log.Rename(p.Name)
	g.dev.SetOffloads(s.Offloads)
	g.dev.SetOffer(s.Queues, s.MTU)
	g.dev.SetQueueLen(s.QueueLen)
	g.account.SetMemory(s.MaxMemory, s.DiskMemory)
	g.update(func() { g.cfg, g.set = p, s })
	g.dev.SetMAC(guestMAC(p))
	if conns != nil {
		g.setConnector(conns)
	}
}

// Close implements port.Port.
func (g *Port) Close() {
	g.cancel(errClosing)
	if !g.begun && g.resumption != nil {
		g.resumption.session.Discard()
	}
	if g.begun {
		<-g.done
		g.dev.Close()
	}
	g.opener.forget(g)
	g.account.Close()
	if err := g.conns.Close(); err != nil {
		g.log.Warn("closing the socket failed", "error", err)
	}
}

// Describe implements port.Port.
func (g *Port) Describe(info *control.PortInfo) {
	st := g.dev.State()
	g.mu.Lock()
	defer g.mu.Unlock()
	info.Socket = g.set.Socket
	info.Mode = string(g.set.Mode)
	info.Queues = g.set.Queues
	info.Features = vhostuser.FeatureNames(st.Features, netport.FeatureName)
	info.ProtocolFeatures = vhostuser.ProtocolFeatureNames(st.ProtocolFeatures)
	info.LastError = g.lastErr
	if g.connected {
		info.Queues = g.dev.Receiving()
	}
	info.Offloads = offloadNamesOf(g.set.Offloads)
	info.MTU = st.MTU
}

// Count implements port.Port.
func (g *Port) Count(stats *control.PortStats) {
	c := &stats.Counters
	c.Kicks, c.Calls = g.dev.Notifications()
	stats.Backlog = &control.Backlog{}
	stats.Backlog.Frames, stats.Backlog.Buffers = g.dev.Backlog()
	held := g.dev.Held()
	stats.Backlog.Held, stats.Backlog.HeldBytes, c.Waited = held.Frames, held.Bytes, held.Total
	g.mu.Lock()
	defer g.mu.Unlock()
	stats.State = g.state()
	c.Resets = maps.Clone(g.resets)
	if g.sessions > 1 {
		c.Reconnects = g.sessions - 1
	}
}

// state is called with mu held.
func (g *Port) state() control.State {
	switch {
	case g.gone:
		return control.StateError
	case g.connected && g.dev.Receiving() > 0:
		return control.StateRunning
	case g.connected:
		return control.StateConnected
	case g.set.Mode == ModeClient:
		return control.StateConnecting
	}
	return control.StateListening
}
