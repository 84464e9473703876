package daemon

import (
	"sync"
	"time"

	"vswitchd/internal/control"
	"vswitchd/internal/events"
	"vswitchd/internal/port"
	vswitch "vswitchd/switch"
)

// What happens in the switch, for the listeners of the control API. Nothing is recorded, and no
// goroutine runs, while nobody listens.

const (
	// journalSize and journalPause bound the work for events of the switch itself, which guests can
	// cause as fast as they send: at most journalSize are handled in each journalPause, and the
	// rest is lost for the listeners.
	journalSize  = 1024
	journalPause = 100 * time.Millisecond

	// stateCheck is the interval at which the states of ports are compared. Most changes are
	// noticed before: when a port comes up or goes down.
	stateCheck = time.Second
)

// An eventSource publishes the events of a daemon.
type eventSource struct {
	d   *Daemon
	hub events.Hub

	mu       sync.Mutex
	watchers int // listeners for which the switch is watched
	journal  *vswitch.Journal
	buf      []vswitch.Record            // that journal.Take may use
	states   map[port.Port]control.State // as the listeners know them
	quit     chan struct{}               // closed when watchers is 0 again
}

// Listen implements control.Backend.
func (b backend) Listen(f control.EventFilter) (control.EventListener, error) {
	l, err := b.d.events.hub.Listen(f)
	if err != nil {
		return nil, err
	}
	if !watches(f) {
		return l, nil
	}
	b.d.events.watch()
	return &watcher{Listener: l, source: b.d.events}, nil
}

// watches reports whether the switch has to be watched for a listener.
func watches(f control.EventFilter) bool {
	return f.Wants(control.EventPort) || f.Wants(control.EventSession) || f.Wants(control.EventFDB) || f.Wants(control.EventMDB)
}

// A watcher is a listener for which the switch is watched.
type watcher struct {
	*events.Listener
	source *eventSource
	once   sync.Once
}

// Close implements control.EventListener.
func (w *watcher) Close() {
	w.Listener.Close()
	w.once.Do(w.source.unwatch)
}

// watch begins to watch the switch, if nobody did.
func (s *eventSource) watch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers++; s.watchers > 1 {
		return
	}
	s.journal = s.d.sw.OpenJournal(journalSize)
	s.states = make(map[port.Port]control.State)
	for _, m := range s.d.snapshot() {
		s.states[m.port] = m.info().State
	}
	s.quit = make(chan struct{})
	go s.follow(s.journal, s.quit)
}

func (s *eventSource) unwatch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers--; s.watchers > 0 {
		return
	}
	s.journal.Close()
	close(s.quit)
	s.journal, s.buf, s.states = nil, nil, nil
}

// follow publishes what is in a journal, and what has become of the ports' states, until quit is
// closed.
func (s *eventSource) follow(j *vswitch.Journal, quit <-chan struct{}) {
	tick := time.NewTicker(stateCheck)
	defer tick.Stop()
	for {
		all := false
		select {
		case <-quit:
			return
		case <-tick.C:
			all = true
		case <-j.Ready():
		}
		s.catchUp(all, "")
		select {
		case <-quit:
			return
		case <-time.After(journalPause):
		}
	}
}

// publish publishes an event, behind all that has happened in the switch before.
func (s *eventSource) publish(kind control.EventKind, event, port string, detail control.EventDetail) {
	if !s.hub.Active() {
		return
	}
	s.catchUp(false, "")
	s.hub.Publish(control.NewEvent(kind, event, port, detail))
}

// catchUp publishes what is in the journal, and the changes of ports' states: of those that the
// journal names, or of all ports, but not that of port except.
func (s *eventSource) catchUp(all bool, except string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal == nil {
		return
	}
	records, lost := s.journal.Take(s.buf)
	changed := make(map[string]int) // how often a port came up or went down
	for i := range records {
		r := &records[i]
		if r.What != vswitch.RecordPort {
			s.hub.Publish(recordEvent(r))
			continue
		}
		if changed[r.Port]++; changed[r.Port] == 1 && r.Port != except {
			s.compareAll(func(name string) bool { return name == r.Port })
		}
	}
	s.hub.Lose(control.EventFDB, lost.FDB)
	s.hub.Lose(control.EventMDB, lost.Groups)
	clear(records)
	s.buf = records
	if len(changed) > 0 || all {
		s.compareAll(func(name string) bool { return (all || changed[name] > 1) && name != except })
	}
}

// compareAll calls compare for the ports whose names are selected. Needs mu.
func (s *eventSource) compareAll(selected func(name string) bool) {
	for _, m := range s.d.snapshot() {
		if selected(m.cfg.Name) {
			s.compare(m)
		}
	}
}

// compare publishes the change of a port's state, if it has changed. Needs mu.
func (s *eventSource) compare(m *member) {
	info := m.info()
	was, known := s.states[m.port]
	s.states[m.port] = info.State
	if !known || was == info.State {
		return
	}
	detail := control.PresentPort(&info)
	detail.Was = was
	s.hub.Publish(control.NewEvent(control.EventPort, "state", info.Name, detail))
	if info.Kind == control.KindGuest && info.State == control.StateRunning && was != control.StateBlocked {
		s.hub.Publish(control.NewEvent(control.EventSession, "running", info.Name, &control.SessionEvent{}))
	}
}

// report implements port.Env.Report. The state that the port has because of an event is told behind
// the event.
func (s *eventSource) report(name, event string, detail *control.SessionEvent) {
	if !s.hub.Active() {
		return
	}
	s.catchUp(false, name)
	s.hub.Publish(control.NewEvent(control.EventSession, event, name, detail))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.states != nil {
		s.compareAll(func(n string) bool { return n == name })
	}
}

// portsChanged publishes what a change has done to the ports.
func (s *eventSource) portsChanged(c *change) {
	if !s.hub.Active() {
		return
	}
	for _, m := range c.gone {
		s.publish(control.EventPort, "removed", m.cfg.Name, &control.PortEvent{PortKind: control.Kind(m.cfg.Kind.Name)})
		s.mu.Lock()
		delete(s.states, m.port)
		s.mu.Unlock()
	}
	for i, m := range s.d.snapshot() {
		st := c.ports[i]
		info := m.info()
		detail := control.PresentPort(&info)
		switch {
		case st.was == nil:
			s.publish(control.EventPort, "added", info.Name, detail)
			s.mu.Lock()
			if s.states != nil {
				s.states[m.port] = info.State
			}
			s.mu.Unlock()
			continue
		case st.was.cfg.Name != info.Name:
			detail.From = st.was.cfg.Name
			s.publish(control.EventPort, "renamed", info.Name, detail)
		}
		detail.From = ""
		for _, k := range st.will.Differing(st.was.cfg) {
			detail.Keys = append(detail.Keys, k.Name)
		}
		if len(detail.Keys) > 0 {
			s.publish(control.EventPort, "reconfigured", info.Name, detail)
		}
	}
}
