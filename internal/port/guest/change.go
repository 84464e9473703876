package guest

import (
	"context"
	"os"

	"vswitchd/internal/config"
	"vswitchd/internal/port"
	"vswitchd/vhostuser"
)

// Prepare implements port.Port. If the socket or the mode changes, it opens the new source of
// front-end connections; otherwise it changes the access to the existing socket.
func (g *Port) Prepare(ctx context.Context, was, will *config.Port) (port.Change, error) {
	old, now := of(was), of(will)
	if now.Place().String() == old.Place().String() && now.Mode == old.Mode {
		undo, err := g.changeAccess(old, now)
		return port.Change{Apply: func() { g.adopt(will, nil) }, Undo: undo}, err
	}
	conns, err := g.opener.connector(ctx, now)
	if err != nil {
		return port.Change{}, err
	}
	return port.Change{
		Apply: func() { g.adopt(will, conns) },
		Undo:  func() { _ = conns.Close() },
	}, nil
}

// changeAccess changes the owner and mode of a socket that is kept.
func (g *Port) changeAccess(was, s *Settings) (undo func(), err error) {
	l, ok := g.connector().(*vhostuser.Listener)
	if !ok || s.Access == was.Access {
		return nil, nil
	}
	o := vhostuser.ListenOptions{Mode: s.Access.Mode, Chown: true, UID: s.Access.UID, GID: s.Access.GID}
	if o.UID < 0 {
		o.UID = os.Geteuid()
	}
	if o.GID < 0 {
		o.GID = os.Getegid()
	}
	before, err := l.SetAccess(o)
	if err != nil {
		return nil, err
	}
	return func() {
		if _, err := l.SetAccess(before); err != nil {
			g.log.Error("undoing a reload failed", "error", err)
		}
	}, nil
}
