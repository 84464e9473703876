package guest

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/internal/control"
	"vswitchd/vhostuser"
)

// This file monitors a connected front-end beyond its messages. It detects other front-ends that
// wait for the port, and sessions that continue without passing frames.

// errSilent ends the session of a front-end that was silent while another one was waiting.
var errSilent = errors.New("front-end was silent while another one waited for the port")

const (
	// SilentTimeout is how long a front-end may be silent while another one is waiting. See
	// vhostuser.Session.Silent for the definition of silent.
	SilentTimeout = 5 * time.Second

	// waitingDelay is how long another front-end must have waited before a warning is logged. A
	// front-end that replaces a leaving one also waits for a short time, which needs no warning.
	waitingDelay = time.Second

	// hintInterval is the interval at which a port checks a session for signs of a problem.
	hintInterval = 5 * time.Second
)

// A waiter is a Connector that can detect a pending connection without accepting it, such as
// vhostuser.Listener. In client mode there is no pending connection, because vswitchd connects.
type waiter interface {
	Wait(ctx context.Context) error
}

// supervise monitors the session until ctx is done.
func (g *Port) supervise(ctx context.Context, s *vhostuser.Session) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.watchForHints(ctx)
	}()
	if g.waitForOther(ctx) {
		g.preemptIfSilent(ctx, s)
	}
	<-done
}

// waitForOther waits until another front-end is waiting, also when the port's connector is replaced
// meanwhile. It returns true if another front-end is waiting, and false if waiting fails or when
// ctx is done.
func (g *Port) waitForOther(ctx context.Context) bool {
	for ctx.Err() == nil {
		g.mu.Lock()
		conns, connecting := g.conns, g.connecting
		g.mu.Unlock()
		w, ok := conns.(waiter)
		if !ok { // wait until the connector is replaced
			select {
			case <-ctx.Done():
			case <-connecting.Done():
			}
			continue
		}
		here, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(connecting, cancel)
		err := w.Wait(here)
		stop()
		cancel()
		if err == nil {
			return true
		}
		if ctx.Err() == nil && connecting.Err() == nil {
			return false // connect reports the error when it accepts the next front-end
		}
	}
	return false
}

// preemptIfSilent ends the session once it has been silent for SilentTimeout, because another
// front-end is waiting. A session that is not silent keeps the port, and the other front-end waits
// until the session ends.
func (g *Port) preemptIfSilent(ctx context.Context, s *vhostuser.Session) {
	pause(ctx, waitingDelay)
	if ctx.Err() != nil {
		return
	}
	g.update(func() { g.waiting = true })
	g.report("waiting", nil)
	g.log.Warn("another front-end is waiting for the port", "pid", g.peer, "silent", s.Silent().Round(time.Second))
	for ctx.Err() == nil {
		silent := s.Silent()
		if silent >= SilentTimeout {
			s.Fail(errSilent)
			return
		}
		if silent > 0 {
			pause(ctx, SilentTimeout-silent)
		} else {
			pause(ctx, SilentTimeout)
		}
	}
}

// watchForHints checks the session every hintInterval until it finds a likely problem, which it
// records with setHint, or until ctx is done.
func (g *Port) watchForHints(ctx context.Context) {
	for {
		pause(ctx, hintInterval)
		if ctx.Err() != nil {
			return
		}
		st := g.dev.Status()
		if likely := sessionHint(&st); likely != (hint{}) {
			g.setHint(likely)
			return
		}
		if g.dev.Receiving() > 0 {
			g.setHint(hint{}) // the session works, so a hint from an earlier session no longer applies
		}
	}
}

// setHint records the likely cause of the front-ends' problem. It logs a hint that differs from
// the last one.
func (g *Port) setHint(h hint) {
	g.mu.Lock()
	changed := h != (hint{}) && h != g.lastHint
	g.lastHint = h
	g.mu.Unlock()
	if changed {
		g.log.Warn("something is likely wrong with the port's front-end", "hint", h.text)
		g.report("hint", func(e *control.SessionEvent) { e.Hint, e.HintCause = h.text, h.cause })
	}
}

// peerOf returns the PID of the process at the other end of a connection; 0 if it is not known.
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
