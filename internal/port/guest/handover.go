package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"time"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/handover"
	"vswitchd/internal/port"
	"vswitchd/internal/unixsock"
	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

// This file hands a guest's port over to another process, and takes one over.

// A portState is the state of a port in the documents of a hand-over. Times are in nanoseconds
// since 1970.
type portState struct {
	Listener *unixsock.Handle `json:"listener,omitempty"` // nil: in client mode
	Session  *sessionState    `json:"session,omitempty"`  // nil: no front-end is connected

	Sessions uint64        `json:"sessions"` // front-ends that have connected so far
	LastEnd  string        `json:"last_end,omitempty"`
	EndedAt  int64         `json:"ended_at,omitempty"`
	LastErr  string        `json:"last_error,omitempty"`
	Resets   control.Tally `json:"resets"`
}

// A sessionState is the state of a session.
type sessionState struct {
	Conn   int             `json:"conn"`
	Since  int64           `json:"since"`
	Peer   int             `json:"peer"` // PID
	Saved  vhostuser.Saved `json:"front_end"`
	Device netport.Saved   `json:"device"`
	Held   int             `json:"held"` // file with the frames that are held; -1: there are none
}

// Names for handover.Writer.Need: what a version that does not know it would get wrong.
const (
	needsPacked   = "packed-ring"
	needsInflight = "descriptors-in-flight"
	needsLog      = "dirty-log"
	needsChannel  = "back-end-channel"
	needsRelay    = "relayed-calls"
	needsControl  = "control-queue"
	needsHeld     = "held-frames"
)

// Understood returns the names that documents may have in must_understand.
func Understood() []string {
	return []string{needsPacked, needsInflight, needsLog, needsChannel, needsRelay, needsControl, needsHeld}
}

var (
	_ port.Adopter = (*opener)(nil)
	_ port.Mover   = (*Port)(nil)
)

// Movable implements port.Mover.
func (g *Port) Movable() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.set.FD != 0 || g.gone {
		return errors.New("its socket was passed in by --fd")
	}
	return nil
}

// Freeze implements port.Mover.
func (g *Port) Freeze(w *handover.Writer, wait time.Duration) (state any, thaw func(), err error) {
	if !g.gate.EnterWithin(wait) {
		return nil, nil, fmt.Errorf("%w: the front-end has sent only a part of a message, or does not read a reply", vhostuser.ErrBusy)
	}
	defer func() {
		if err != nil {
			g.gate.Leave()
		}
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	st := &portState{
		Sessions: g.sessions, LastEnd: g.lastEnd, LastErr: g.lastErr, Resets: maps.Clone(g.resets),
	}
	if g.lastEnd != "" {
		st.EndedAt = g.endedAt.UnixNano()
	}
	if l, ok := g.conns.(*vhostuser.Listener); ok {
		h := l.Handle()
		h.FD = w.File(h.FD)
		st.Listener = &h
	}
	if g.current == nil {
		return st, g.gate.Leave, nil
	}
	saved, thawSession, err := g.current.Freeze(wait)
	if err != nil {
		return nil, nil, err
	}
	if st.Session, err = g.saveSession(w, saved); err != nil {
		thawSession()
		return nil, nil, err
	}
	return st, func() {
		thawSession()
		g.gate.Leave()
	}, nil
}

// saveSession describes the current session, which is frozen. mu is held.
func (g *Port) saveSession(w *handover.Writer, saved vhostuser.Saved) (*sessionState, error) {
	device, held := g.dev.Save()
	st := &sessionState{
		Conn: w.File(g.current.Connection()), Since: g.since.UnixNano(), Peer: g.peer, Saved: saved, Device: device, Held: -1,
	}
	for _, n := range []struct {
		name string
		is   bool
	}{
		{needsPacked, saved.Features&(1<<virtqueue.FeatureRingPacked) != 0},
		{needsInflight, saved.Inflight.FD >= 0},
		{needsLog, saved.Log.FD >= 0},
		{needsChannel, saved.BackendFD >= 0},
		{needsControl, device.Control != nil},
		{needsHeld, len(held) > 0},
	} {
		if n.is {
			w.Need(n.name)
		}
	}
	for _, v := range saved.Vrings {
		if v.CallSocket >= 0 || v.Call >= 0 && !v.HasCall {
			w.Need(needsRelay)
		}
	}
	_ = st.Saved.EachFD(func(fd *int) error { *fd = w.File(*fd); return nil })
	if len(held) == 0 {
		return st, nil
	}
	var err error
	st.Held, err = w.Blob("held frames", held)
	return st, err
}

// A resumption is a session that goes on.
type resumption struct {
	session *vhostuser.Resumption
	device  netport.Saved
	held    []byte
}

// Adopt implements port.Adopter.
func (o *opener) Adopt(p *config.Port, c *vswitch.Counters, state json.RawMessage, r *handover.Reader) (_ port.Port, err error) {
	var st portState
	if err := json.Unmarshal(state, &st); err != nil {
		return nil, fmt.Errorf("%w: %w", handover.ErrNotUnderstood, err)
	}
	conns, err := adoptConnector(of(p), &st, r)
	if err != nil {
		return nil, err
	}
	g, err := o.openOn(p, c, conns)
	if err != nil {
		return nil, err
	}
	g.sessions, g.lastEnd, g.lastErr = st.Sessions, st.LastEnd, st.LastErr
	g.endedAt = time.Unix(0, st.EndedAt)
	maps.Copy(g.resets, st.Resets)
	if st.Session == nil {
		close(g.running)
		return g, nil
	}
	if err := g.adoptSession(st.Session, r); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// adoptConnector makes the source of the next front-ends from that of the other process.
func adoptConnector(s *Settings, st *portState, r *handover.Reader) (vhostuser.Connector, error) {
	switch {
	case s.Mode == ModeClient:
		return &vhostuser.Dialer{Path: s.Socket}, nil
	case st.Listener == nil || st.Listener.Path != s.Socket:
		return nil, fmt.Errorf("%w: the port's socket is missing", handover.ErrNotUnderstood)
	}
	h := *st.Listener
	var err error
	if h.FD, err = r.Take(h.FD); err != nil {
		return nil, err
	}
	return vhostuser.ResumeListener(h)
}

// adoptSession prepares to go on with a session.
func (g *Port) adoptSession(st *sessionState, r *handover.Reader) error {
	held, err := r.Blob(st.Held)
	if err != nil {
		return err
	}
	fd, err := r.Take(st.Conn)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "connection")
	if f == nil {
		return fmt.Errorf("%w: there is no connection", handover.ErrNotUnderstood)
	}
	defer f.Close() // package net duplicates it
	conn, err := net.FileConn(f)
	if err != nil {
		return fmt.Errorf("connection: %w", err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		_ = conn.Close()
		return fmt.Errorf("%w: the connection is not a unix socket", handover.ErrNotUnderstood)
	}
	err = st.Saved.EachFD(func(fd *int) (err error) { *fd, err = r.Take(*fd); return err })
	if err == nil {
		err = g.dev.RenewFor(&st.Device)
	}
	if err != nil {
		_ = conn.Close()
		return err
	}
	g.account.SetVrings(g.dev.MaxVrings())
	session, err := vhostuser.Resume(unixConn, g.dev, g.options(), st.Saved)
	if err != nil {
		return err
	}
	g.since, g.peer, g.connected = time.Unix(0, st.Since), st.Peer, true
	g.resumption = &resumption{session, st.Device, held}
	return nil
}

// Resume implements port.Mover.
func (g *Port) Resume() <-chan struct{} { return g.running }

// resume goes on with the session that was adopted, until it ends.
func (g *Port) resume(ctx context.Context) {
	r := g.resumption
	g.run(ctx, g.since, func() error {
		return r.session.Serve(ctx,
			func() error { return g.dev.Restore(&r.device, r.held) },
			func() {
				g.dev.Resumed()
				close(g.running)
			})
	})
}
