package guest

import (
	"context"
	"os"

	"vswitchd/internal/config"
	"vswitchd/internal/port"
	"vswitchd/vhostuser"
)

// Prepare implements port.Port: it opens what the port is to take front-ends from.
func (g *Port) Prepare(ctx context.Context, was, will *config.Port) (port.Change, error) {
	old, now := of(was), of(will)
	if now.Place().String() == old.Place().String() && now.Mode == old.Mode {
		undo, err := g.readmit(old, now)
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

// readmit changes owner and mode of a socket that stays.
func (g *Port) readmit(was, s *Settings) (undo func(), err error) {
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
