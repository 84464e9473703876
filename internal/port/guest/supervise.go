package guest

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
)

// This file is about what a port notices while a front-end is connected, besides messages: others
// that wait for the port, and a session that goes on and comes to nothing.

// errSilent is why a session ends whose front-end said nothing while another one was waiting.
var errSilent = errors.New("front-end was silent while another one waited for the port")

const (
	// GiveWay is how long a front-end may be silent while another one is waiting. See
	// vhostuser.Session.Silent for who counts as silent.
	GiveWay = 5 * time.Second

	// settle is how long another front-end has waited when that is worth a line: one that
	// takes the place of one that is about to leave waits, too.
	settle = time.Second

	// lookEvery is how often a port looks whether a session is likely to come to nothing.
	lookEvery = 5 * time.Second
)

// A waiter is a Connector that knows of front-ends before it takes them. (vhostuser.Listener is
// one. In client mode there is only one to connect to.)
type waiter interface {
	Wait(ctx context.Context) error
}

// supervise notices what there is to notice until ctx is done.
func (g *Port) supervise(ctx context.Context, s *vhostuser.Session) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.look(ctx)
	}()
	if g.wait(ctx) {
		g.yield(ctx, s)
	}
	<-done
}

// wait waits until another front-end is waiting, wherever the port takes front-ends meanwhile. It
// returns false if that cannot be, or cannot be known, or when ctx is done.
func (g *Port) wait(ctx context.Context) bool {
	for ctx.Err() == nil {
		g.mu.Lock()
		conns, wired := g.conns, g.wired
		g.mu.Unlock()
		w, ok := conns.(waiter)
		if !ok { // until there is another connector
			select {
			case <-ctx.Done():
			case <-wired.Done():
			}
			continue
		}
		here, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(wired, cancel)
		err := w.Wait(here)
		stop()
		cancel()
		if err == nil {
			return true
		}
		if ctx.Err() == nil && wired.Err() == nil {
			return false // the port will say why when it cannot take the next one
		}
	}
	return false
}

// yield ends a session that is silent, as another front-end is waiting. One that is not silent
// keeps the port, and the other one waits until it leaves.
func (g *Port) yield(ctx context.Context, s *vhostuser.Session) {
	pause(ctx, settle)
	if ctx.Err() != nil {
		return
	}
	g.note(func() { g.waiting = true })
	g.log.Warn("another front-end is waiting for the port", "pid", g.peer, "silent", s.Silent().Round(time.Second))
	for ctx.Err() == nil {
		silent := s.Silent()
		if silent >= GiveWay {
			s.Fail(errSilent)
			return
		}
		if silent > 0 {
			pause(ctx, GiveWay-silent)
		} else {
			pause(ctx, GiveWay)
		}
	}
}

// look looks at the session now and then, until it finds it likely that something is wrong, and
// says so once for all sessions of a kind.
func (g *Port) look(ctx context.Context) {
	for {
		pause(ctx, lookEvery)
		if ctx.Err() != nil {
			return
		}
		st := g.dev.Status()
		hint := suspect(&st)
		if hint != "" {
			g.hint(hint)
			return
		}
		if g.dev.Receiving() > 0 {
			g.hint("") // whatever was wrong with those before, or seemed to be
		}
	}
}

// hint notes what is likely wrong with the port's front-ends, and logs it if it is something
// new.
func (g *Port) hint(hint string) {
	g.mu.Lock()
	news := hint != "" && hint != g.likely
	g.likely = hint
	g.mu.Unlock()
	if news {
		g.log.Warn("something is likely wrong with the port's front-end", "likely", hint)
	}
}

// peerOf returns the process at the other end of a connection; 0: it is not known.
func peerOf(conn *net.UnixConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}
