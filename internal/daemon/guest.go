package daemon

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
	guestport "vswitchd/internal/port/guest"
	"vswitchd/internal/rundir"
	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

// errClosing is why sessions end when their port is closed.
var errClosing = errors.New("port is being closed")

// A guest is a port for a virtual machine: a network device that is always there, and
// the front-ends that come and use it, one after the other.
type guest struct {
	log      portLog
	counters *vswitch.Counters
	dev      *netport.Port
	account  *vhostuser.Account
	pace     vhostuser.Pace
	over     chan<- *guest // told when no front-end can connect any more
	ctx      context.Context
	cancel   context.CancelCauseFunc
	done     chan struct{}
	penalty  penalty // used by serve alone

	futile int // front-ends in a row that left before they set features; of the goroutine that serves them

	mu        sync.Mutex
	cfg       *config.Port
	set       *guestport.Settings // of cfg
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

// newGuest makes a guest's port that takes front-ends from conns. It is not part of the switch
// yet, and nothing can go wrong any more: start or discard it.
func (d *Daemon) newGuest(p *config.Port, conns vhostuser.Connector) (*guest, error) {
	cfg := guestOf(p)
	g := &guest{
		log:      newPortLog(d.log, p.Name),
		counters: &vswitch.Counters{},
		over:     d.over,
		cfg:      p,
		set:      cfg,
		conns:    conns,
		resets:   make(control.Tally),
		haste:    haste{first: firstWait, longest: longestWait},
		done:     make(chan struct{}),
	}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	g.wired, g.unwire = context.WithCancelCause(g.ctx)
	var err error
	g.dev, err = netport.New(netport.Config{
		Queues:   cfg.Queues,
		MTU:      cfg.MTU,
		MAC:      toldMAC(p),
		Port:     vswitch.PortConfig{Name: p.Name, Counters: g.counters},
		Offloads: cfg.Offloads,
		Logger:   g.log,
		Start:    func(s netport.Source) error { return d.pool.AddTo(g, s) },
		Stop:     func(s netport.Source) { d.pool.Remove(s) },
		Blame:    d.blame,
	})
	if err != nil {
		return nil, err
	}
	g.account = d.share.Open(vhostuser.Limits{
		Memory: cfg.MaxMemory, MemoryName: "max_memory",
		DiskMemory: cfg.DiskMemory, DiskMemoryName: "disk_memory",
		Vrings: g.dev.MaxVrings(),
	})
	return g, nil
}

func (g *guest) start(a *vswitch.Attachment) {
	g.dev.Join(a)
	go g.serve(g.ctx)
}

// discard is close for a port that has not been started.
func (g *guest) discard() {
	g.cancel(errClosing)
	g.account.Close()
	_ = g.conns.Close()
}

// errRewired is why a port stops waiting on a socket that is not its any more.
var errRewired = errors.New("the port takes front-ends from elsewhere now")

// rewire has the next front-end come from conns. The one that is connected stays.
func (g *guest) rewire(conns vhostuser.Connector) {
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
func (g *guest) connect(ctx context.Context) (*net.UnixConn, error) {
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

// connector opens what front-ends come from. It waits while another process is making the
// same socket, but not longer than until ctx is done.
func connector(ctx context.Context, cfg *guestport.Settings) (vhostuser.Connector, error) {
	switch {
	case cfg.FD != 0:
		return vhostuser.Inherit(cfg.FD)
	case cfg.Mode == guestport.ModeClient:
		return &vhostuser.Dialer{Path: cfg.Socket}, nil
	}
	if err := rundir.Make(cfg.Socket); err != nil {
		return nil, err
	}
	return vhostuser.ListenContext(ctx, cfg.Socket, listenOptions(cfg))
}

func listenOptions(cfg *guestport.Settings) vhostuser.ListenOptions {
	a := cfg.Access
	return vhostuser.ListenOptions{Mode: a.Mode, Chown: a.UID >= 0 || a.GID >= 0, UID: a.UID, GID: a.GID}
}

func (g *guest) connector() vhostuser.Connector {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conns
}

// retryAfter is how long a port waits when it cannot take a front-end, such as
// when there are too many files open.
const retryAfter = time.Second

// serve serves one front-end after the other until the port is closed. If there cannot be
// another, it says so on g.over.
func (g *guest) serve(ctx context.Context) {
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
			select {
			case g.over <- g:
			case <-ctx.Done():
			}
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
func (g *guest) session(ctx context.Context, conn *net.UnixConn) {
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
func (g *guest) judge(began time.Time, c vhostuser.Progress, err error) (wait time.Duration) {
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
func (g *guest) leaveForGood(reason error) {
	g.note(func() {
		g.gone = true
		if g.lastErr != "" {
			g.failure = fmt.Errorf("port %s: %s", g.cfg.Name, g.lastErr)
		} else {
			g.lastErr = reason.Error()
		}
	})
}

func (g *guest) note(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

func (g *guest) name() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cfg.Name
}

func (g *guest) attachment() *vswitch.Attachment { return g.dev.Attachment() }
func (g *guest) blame(addr uintptr) bool         { return g.dev.Blame(addr) }

func (g *guest) adopt(p *config.Port, r readied) {
	s := guestOf(p)
	g.log.rename(p.Name)
	g.dev.SetOffloads(s.Offloads)
	g.dev.SetOffer(s.Queues, s.MTU)
	g.account.SetMemory(s.MaxMemory, s.DiskMemory)
	g.note(func() { g.cfg, g.set = p, s })
	g.dev.SetMAC(toldMAC(p))
	if r.conns != nil {
		g.rewire(r.conns)
	}
}

// toldMAC is the address that a guest is told: that which is its own alone.
func toldMAC(p *config.Port) (mac vswitch.MAC) {
	if len(p.MACs) > 0 {
		mac = p.MACs[0]
	}
	return mac
}

func (g *guest) close() {
	g.cancel(errClosing)
	<-g.done
	g.dev.Close()
	g.account.Close()
	if err := g.conns.Close(); err != nil {
		g.log.Warn("closing the socket failed", "error", err)
	}
}

func (g *guest) info() control.PortInfo {
	st := g.dev.State()
	g.mu.Lock()
	defer g.mu.Unlock()
	info := control.PortInfo{
		Name:             g.cfg.Name,
		Kind:             control.KindGuest,
		State:            g.state(),
		Socket:           g.set.Socket,
		Mode:             string(g.set.Mode),
		Queues:           g.set.Queues,
		Features:         vhostuser.FeatureNames(st.Features, netport.FeatureName),
		ProtocolFeatures: vhostuser.ProtocolFeatureNames(st.ProtocolFeatures),
		LastError:        g.lastErr,
		Counters:         countersInfo(g.counters),
	}
	if g.connected {
		info.Queues = g.dev.Receiving()
	}
	info.Offloads = guestport.OffloadNames(g.set.Offloads)
	info.MTU = st.MTU
	describe(&info, g.cfg, g.dev.Attachment())
	info.Counters.Kicks, info.Counters.Calls = g.dev.Notifications()
	info.Counters.Resets = maps.Clone(g.resets)
	if g.sessions > 1 {
		info.Counters.Reconnects = g.sessions - 1
	}
	return info
}

// state is called with mu held.
func (g *guest) state() control.State {
	switch {
	case g.gone:
		return control.StateError
	case g.connected && g.dev.Receiving() > 0:
		return control.StateRunning
	case g.connected:
		return control.StateConnected
	case g.set.Mode == guestport.ModeClient:
		return control.StateConnecting
	}
	return control.StateListening
}
