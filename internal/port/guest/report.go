package guest

import (
	"time"

	"vswitchd/internal/control"
)

// What happens to front-ends, for those who listen to events.

// report reports an event of the current or last session, to which add, if it is not nil, adds
// details. mu is not held.
func (g *Port) report(event string, add func(*control.SessionEvent)) {
	g.mu.Lock()
	name := g.cfg.Name
	e := &control.SessionEvent{Number: g.sessions, PeerPID: g.peer, AgeS: int64(time.Since(g.since).Seconds())}
	g.mu.Unlock()
	if add != nil {
		add(e)
	}
	g.opener.env.Report(name, event, e)
}

// reportEnd reports the end of a session, of which err is the cause.
func (g *Port) reportEnd(err error) {
	event, reset := "disconnected", ""
	if !orderly(err) {
		event, reset = "reset", resetReason(err)
	}
	g.report(event, func(e *control.SessionEvent) { e.Reason, e.Reset = err.Error(), reset })
}
