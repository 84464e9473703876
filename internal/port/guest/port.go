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

// errClosing is why sessions end when their port is closed.
var errClosing = errors.New("port is being closed")

// A Port is a port for a virtual machine: a network device that is always there, and
// the front-ends that come and use it, one after the other.
type Port struct {
	log     port.Log
	opener  *opener
	dev     *netport.Port
	account *vhostuser.Account
	pace    vhostuser.Pace
	ctx     context.Context
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when serve has ended
	begun   bool
	penalty penalty // used by serve alone

	futile int // front-ends in a row that left before they set features; of the goroutine that serves them

	mu        sync.Mutex
	cfg       *config.Port
	set       *Settings // of cfg
	conns     vhostuser.Connector
	wired     context.Context // done when conns is replaced
	unwire    context.CancelCauseFunc
	haste     haste
	connected bool
	sessions  uint64    // front-ends that came
	peer      int       // process that is connected, or was; 0: not known
	waiting   bool      // another front-end is waiting for the port
	likely    string    // what is likely wrong with the port's front-ends
	since     time.Time // of the one that is connected
	lastEnd   string    // how the session before ended, "": there was none
	endedAt   time.Time
	resets    control.Tally
	lastErr   string // why the last one went, unless it just left; why there can be no other
	gone      bool   // there cannot be another
	failure   error  // then: why the last one went, unless it just left
}

// newPort makes a guest's port that takes front-ends from conns.
func (o *opener) newPort(p *config.Port, c *vswitch.Counters, conns vhostuser.Connector) (*Port, error) {
	cfg := of(p)
	g := &Port{
		log:    port.NewLog(o.env.Logger, p.Name),
		opener: o,
		cfg:    p,
		set:    cfg,
		conns:  conns,
		resets: make(control.Tally),
		haste:  o.haste,
		done:   make(chan struct{}),
	}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	g.wired, g.unwire = context.WithCancelCause(g.ctx)
	var err error
	g.dev, err = netport.New(netport.Config{
		Queues:       cfg.Queues,
		MTU:          cfg.MTU,
		MAC:          toldMAC(p),
		Port:         vswitch.PortConfig{Name: p.Name, Counters: c},
		Offloads:     cfg.Offloads,
		Logger:       g.log,
		Start:        func(s worker.Source) error { return o.env.Workers.AddTo(g, s) },
		Stop:         func(s worker.Source) { o.env.Workers.Remove(s) },
		ForeignFault: o.blame,
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
	go g.serve(g.ctx)
}

// errRewired is why a port stops waiting on a socket that is not its any more.
var errRewired = errors.New("the port takes front-ends from elsewhere now")

// rewire has the next front-end come from conns. The one that is connected stays.
func (g *Port) rewire(conns vhostuser.Connector) {
	g.mu.Lock()
	old, unwire := g.conns, g.unwire
	g.conns = conns
	g.wired, g.unwire = context.WithCancelCause(g.ctx)
	g.mu.Unlock()
	unwire(errRewired)
	if err := old.Close(); err != nil {
		g.log.Warn("closing the socket failed", "error", err)
	}
}

// connect waits for the next front-end, from wherever the port takes them meanwhile.
func (g *Port) connect(ctx context.Context) (*net.UnixConn, error) {
	for {
		g.mu.Lock()
		conns, wired := g.conns, g.wired
		g.mu.Unlock()
		conn, err := conns.Connect(wired)
		if wired.Err() == nil || ctx.Err() != nil {
			return conn, err
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

func (g *Port) connector() vhostuser.Connector {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conns
}

// retryAfter is how long a port waits when it cannot take a front-end, such as
// when there are too many files open.
const retryAfter = time.Second

// serve serves one front-end after the other until the port is closed. If there cannot be
// another, it tells the daemon.
func (g *Port) serve(ctx context.Context) {
	defer close(g.done)
	for {
		conn, err := g.connect(ctx)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return
		case errors.Is(err, vhostuser.ErrOnlyConnection):
			g.leaveForGood(err)
			g.log.Info("no front-end can connect any more", "reason", err)
			g.opener.env.Over(ctx, g, g.failure)
			return
		case err != nil:
			g.log.Error("no front-end can connect for now", "error", err)
			g.note(func() { g.lastErr = err.Error() })
			pause(ctx, retryAfter)
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

// session serves one front-end, and waits after it as long as it has deserved.
func (g *Port) session(ctx context.Context, conn *net.UnixConn) {
	began := time.Now()
	g.note(func() { g.connected, g.since, g.peer, g.waiting = true, began, peerOf(conn), false; g.sessions++ })
	level := hclog.Info
	if g.futile >= often {
		level = hclog.Debug // it has been said that they come and go
	}
	g.log.Log(level, "front-end connected", "pid", g.peer)

	g.dev.Renew()
	g.account.SetVrings(g.dev.MaxVrings())

	var progress func() vhostuser.Progress
	watching, stop := context.WithCancel(ctx)
	var watched sync.WaitGroup
	err := vhostuser.Serve(ctx, conn, g.dev, vhostuser.Options{
		Logger: g.log, Account: g.account, Pace: &g.pace, WatchHugePages: true,
		Begun: func(s *vhostuser.Session) {
			progress = s.Progress
			watched.Go(func() { g.supervise(watching, s) })
		},
	})
	stop()
	watched.Wait()
	g.dev.SessionEnded()
	g.note(func() {
		g.connected, g.waiting, g.lastErr, g.lastEnd, g.endedAt = false, false, "", err.Error(), time.Now()
		if !left(err) {
			g.lastErr = err.Error()
			g.resets[resetReason(err)]++
		}
	})
	if ctx.Err() != nil {
		g.log.Info("front-end was disconnected", "reason", err)
		return
	}
	var c vhostuser.Progress
	if progress != nil {
		c = progress()
	}
	pause(ctx, g.judge(began, c, err))
}

// often is how many front-ends in a row come to nothing before that is said, and then no more.
const often = 3

// judge says how a session ended, and returns how long the port takes no front-end after it.
func (g *Port) judge(began time.Time, c vhostuser.Progress, err error) (wait time.Duration) {
	g.note(func() { wait = g.haste.wait(began, time.Now(), left(err) && c.SetFeatures) })
	hint := hintOf(c, err, int(g.dev.QueueNum()))
	switch {
	case c.SetFeatures:
		g.futile = 0
	case left(err):
		g.futile++
	}
	switch {
	case !left(err):
		g.log.Error("port was reset", "reason", err, "pid", g.peer)
	case g.futile > often:
		g.log.Debug("front-end left")
	default:
		g.log.Info("front-end left")
	}
	if hint != "" && (!left(err) || errors.Is(c.Refused, virtqueue.ErrAddress) || g.futile >= often) {
		g.hint(hint)
	} else if hint == "" && time.Since(began) >= hasty {
		g.hint("")
	}
	if errors.Is(err, vhostuser.ErrJammed) {
		wait = max(wait, g.penalty.due(time.Now()))
		g.log.Warn("no front-end is taken for some time", "for", wait)
	}
	return wait
}

// leaveForGood notes that there cannot be another front-end, for the given reason.
func (g *Port) leaveForGood(reason error) {
	g.note(func() {
		g.gone = true
		if g.lastErr != "" {
			g.failure = fmt.Errorf("port %s: %s", g.cfg.Name, g.lastErr)
		} else {
			g.lastErr = reason.Error()
		}
	})
}

func (g *Port) note(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

// adopt has the port be p from now on, and take front-ends from conns, if that is not nil.
func (g *Port) adopt(p *config.Port, conns vhostuser.Connector) {
	s := of(p)
	g.log.Rename(p.Name)
	g.dev.SetOffloads(s.Offloads)
	g.dev.SetOffer(s.Queues, s.MTU)
	g.account.SetMemory(s.MaxMemory, s.DiskMemory)
	g.note(func() { g.cfg, g.set = p, s })
	g.dev.SetMAC(toldMAC(p))
	if conns != nil {
		g.rewire(conns)
	}
}

// Close implements port.Port.
func (g *Port) Close() {
	g.cancel(errClosing)
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
	info.State = g.state()
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
	info.Counters.Kicks, info.Counters.Calls = g.dev.Notifications()
	info.Counters.Resets = maps.Clone(g.resets)
	if g.sessions > 1 {
		info.Counters.Reconnects = g.sessions - 1
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
