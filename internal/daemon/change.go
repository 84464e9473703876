package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"vswitchd/internal/config"
	guestport "vswitchd/internal/port/guest"
	vswitch "vswitchd/switch"
	"vswitchd/uplink"
	"vswitchd/vhostuser"
)

// A change brings the ports from one configuration to another one. It has two phases.
//
// prepare opens all that is needed and is not there yet: sockets, interfaces. Whatever can be
// refused is refused here, and then no port has noticed anything.
//
// commit has the switch make the change, as a whole or not at all. From then on nothing can fail:
// what is no longer needed is closed, and what is new begins to work.
//
// A port is what is behind a socket or an interface. If the new configuration has the same under
// another name, the port is renamed. Only where its socket or interface is not in the new
// configuration is a port known by its name, and moved. Either way it keeps its front-end, its
// counters and what was learned from it.
type change struct {
	d     *Daemon
	cfg   *config.Config
	ports []*step
	goes  []port
	lines []string // what to tell the operator
	undo  []func() // of what prepare has done so far
}

// A step is one port of the new configuration.
type step struct {
	was  *config.Port // of a port that is there
	will *config.Port
	port port // nil: it is new, and not made yet
	new  bool
	readied
}

// readied is what has been opened for a port that is there.
type readied struct {
	conns vhostuser.Connector // nil: what it has stays
	up    *uplink.Uplink      // likewise
}

// compare finds out which port becomes which.
func (d *Daemon) compare(old, now *config.Config) *change {
	c := &change{d: d, cfg: now}
	ports := make(map[string]port)
	for _, p := range d.snapshot() {
		ports[p.name()] = p
	}
	was := slices.Clone(old.Ports)
	take := func(fits func(o *config.Port) bool) (o *config.Port) {
		i := slices.IndexFunc(was, fits)
		if i < 0 {
			return nil
		}
		o = was[i]
		was = slices.Delete(was, i, i+1)
		return o
	}
	for _, s := range now.Ports {
		place := s.Place().String()
		c.ports = append(c.ports, &step{will: s, was: take(func(o *config.Port) bool { return o.Place().String() == place })})
	}
	for _, st := range c.ports {
		if st.was == nil {
			st.was = take(func(o *config.Port) bool { return o.Name == st.will.Name && o.Kind == st.will.Kind })
		}
		if st.new = st.was == nil; st.new {
			c.lines = append(c.lines, "port "+st.will.Name+" added")
		} else {
			st.port = ports[st.was.Name]
			c.lines = append(c.lines, differences(st.will, st.was)...)
		}
	}
	for _, o := range was {
		c.goes = append(c.goes, ports[o.Name])
		c.lines = append(c.lines, "port "+o.Name+" removed")
	}
	slices.Sort(c.lines)
	c.lines = append(c.lines, compareFDB(old.FDB, now.FDB)...)
	return c
}

// prepare opens what the change needs. After an error, which has all reasons, takeBack is to be
// called.
func (c *change) prepare(ctx context.Context) error {
	var errs []error
	for _, st := range c.ports {
		if err := c.ready(ctx, st); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", st.key(), err))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return errors.Join(errs...)
}

// key names the key of the configuration that a step depends on.
func (st *step) key() string {
	place := st.will.Place()
	if place.Key == "" {
		return st.will.At("").String() + ": " + st.will.Path()
	}
	return st.will.At(place.Key).String() + ": " + st.will.Path() + "." + place.Key
}

func (c *change) ready(ctx context.Context, st *step) (err error) {
	switch {
	case st.new && uplinkOf(st.will) != nil:
		p, err := c.d.newUplink(st.will)
		if err != nil {
			return err
		}
		st.port, c.undo = p, append(c.undo, p.discard)
	case st.new:
		conns, err := connector(ctx, guestOf(st.will))
		if err != nil {
			return err
		}
		p, err := c.d.newGuest(st.will, conns)
		if err != nil {
			_ = conns.Close()
			return err
		}
		st.port, c.undo = p, append(c.undo, p.discard)
	case uplinkOf(st.will) != nil:
		u, was := uplinkOf(st.will), uplinkOf(st.was)
		if u.Interface == was.Interface && u.Promiscuous == was.Promiscuous {
			return nil
		}
		if st.up, err = c.d.openUplink(st.will, st.port.(*uplinkPort)); err != nil {
			return err
		}
		c.undo = append(c.undo, func() { _ = st.up.Close() })
	default:
		return c.readySocket(ctx, st)
	}
	return nil
}

// readySocket opens what a guest's port that is there is to take front-ends from.
func (c *change) readySocket(ctx context.Context, st *step) (err error) {
	g, was := guestOf(st.will), guestOf(st.was)
	if g.Place().String() == was.Place().String() && g.Mode == was.Mode {
		if g.Mode == guestport.ModeClient || g.Access == was.Access {
			return nil
		}
		return c.readmit(st.port.(*guest), g)
	}
	if st.conns, err = connector(ctx, g); err == nil {
		c.undo = append(c.undo, func() { _ = st.conns.Close() })
	}
	return err
}

// readmit changes owner and mode of a socket that stays.
func (c *change) readmit(g *guest, cfg *guestport.Settings) error {
	l, ok := g.connector().(*vhostuser.Listener)
	if !ok {
		return nil
	}
	o := vhostuser.ListenOptions{Mode: cfg.Access.Mode, Chown: true, UID: cfg.Access.UID, GID: cfg.Access.GID}
	if o.UID < 0 {
		o.UID = os.Geteuid()
	}
	if o.GID < 0 {
		o.GID = os.Getegid()
	}
	was, err := l.SetAccess(o)
	if err != nil {
		return err
	}
	c.undo = append(c.undo, func() {
		if _, err := l.SetAccess(was); err != nil {
			g.log.Error("undoing a reload failed", "error", err)
		}
	})
	return nil
}

// takeBack closes what has been opened.
func (c *change) takeBack() {
	for _, back := range slices.Backward(c.undo) {
		back()
	}
}

// commit makes the change, or returns why the switch refuses it. Then takeBack is to be called.
func (c *change) commit() error {
	var x vswitch.Change
	for _, p := range c.goes {
		x.Detach = append(x.Detach, p.attachment())
	}
	for _, st := range c.ports {
		if st.new {
			x.Attach = append(x.Attach, st.attach())
			continue
		}
		r := vswitch.Reconfiguration{Attachment: st.port.attachment(), Config: portConfig(st.will, nil)}
		if st.up != nil {
			r.Port = st.up
		}
		x.Reconfigure = append(x.Reconfigure, r)
	}
	x.Static = staticEntries(c.cfg.FDB)
	attached, err := c.d.sw.Apply(&x)
	if err != nil {
		return refusals(c.cfg, err)
	}
	closeAll(c.goes)
	var ports []port
	for _, st := range c.ports {
		if st.new {
			st.port.start(attached[0])
			attached = attached[1:]
		} else {
			st.port.adopt(st.will, st.readied)
		}
		ports = append(ports, st.port)
	}
	c.d.publish(c.cfg, ports)
	return nil
}

func (st *step) attach() vswitch.NewPort {
	if p, ok := st.port.(*uplinkPort); ok {
		return vswitch.NewPort{Config: portConfig(st.will, p.counters), Port: p.up}
	}
	g := st.port.(*guest)
	return vswitch.NewPort{Config: portConfig(st.will, g.counters), Port: g.dev}
}

func staticEntries(entries []config.FDBEntry) (list []vswitch.StaticEntry) {
	for i := range entries {
		list = append(list, entries[i].StaticEntry)
	}
	return list
}

// entryKey is what an entry of the FDB is found by.
type entryKey struct {
	mac  vswitch.MAC
	vlan uint16
}

func (k entryKey) String() string { return fmt.Sprintf("static entry %s in VLAN %d", k.mac, k.vlan) }

func entryMap(entries []config.FDBEntry) map[entryKey]string {
	m := make(map[entryKey]string)
	for i := range entries {
		e := &entries[i]
		m[entryKey{e.MAC, e.VLAN}] = e.Port
	}
	return m
}

// compareFDB returns a line for each static entry that is to change.
func compareFDB(old, now []config.FDBEntry) (lines []string) {
	was, will := entryMap(old), entryMap(now)
	for k, port := range will {
		if was[k] != port {
			lines = append(lines, k.String()+" -> "+port)
		}
	}
	for k := range was {
		if will[k] == "" {
			lines = append(lines, k.String()+" removed")
		}
	}
	slices.Sort(lines)
	return lines
}
