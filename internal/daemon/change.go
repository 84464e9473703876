package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"vswitchd/internal/config"
	"vswitchd/internal/port"
	vswitch "vswitchd/switch"
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
	goes  []*member
	lines []string // what to tell the operator
	undo  []func() // of what prepare has done so far
}

// A step is one port of the new configuration.
type step struct {
	was  *member // nil: the port is new
	will *config.Port

	counters *vswitch.Counters
	opened   port.Port   // of a new port: by prepare
	change   port.Change // of one that is there: likewise
}

// compare finds out which port becomes which.
func (d *Daemon) compare(old, now *config.Config) *change {
	c := &change{d: d, cfg: now}
	was := d.snapshot()
	take := func(fits func(o *config.Port) bool) *member {
		i := slices.IndexFunc(was, func(m *member) bool { return fits(m.cfg) })
		if i < 0 {
			return nil
		}
		m := was[i]
		was = slices.Delete(was, i, i+1)
		return m
	}
	for _, p := range now.Ports {
		place := p.Place().String()
		m := take(func(o *config.Port) bool { return o.Kind == p.Kind && o.Place().String() == place })
		c.ports = append(c.ports, &step{was: m, will: p})
	}
	for _, st := range c.ports {
		if st.was == nil {
			st.was = take(func(o *config.Port) bool { return o.Kind == st.will.Kind && o.Name == st.will.Name })
		}
		if st.was == nil {
			st.counters = new(vswitch.Counters)
			c.lines = append(c.lines, "port "+st.will.Name+" added")
		} else {
			st.counters = st.was.counters
			c.lines = append(c.lines, differences(st.will, st.was.cfg)...)
		}
	}
	c.goes = was
	for _, m := range was {
		c.lines = append(c.lines, "port "+m.cfg.Name+" removed")
	}
	slices.Sort(c.lines)
	c.lines = append(c.lines, compareFDB(old.FDB, now.FDB)...)
	if old.Switch.Mcast() != now.Switch.Mcast() {
		c.lines = append(c.lines, "multicast snooping reconfigured")
	}
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

// ready opens what one port needs.
func (c *change) ready(ctx context.Context, st *step) (err error) {
	if st.was == nil {
		if st.opened, err = c.d.openers[st.will.Kind.Name].Open(ctx, st.will, st.counters); err == nil {
			c.undo = append(c.undo, st.opened.Close)
		}
		return err
	}
	if st.change, err = st.was.port.Prepare(ctx, st.was.cfg, st.will); err == nil && st.change.Undo != nil {
		c.undo = append(c.undo, st.change.Undo)
	}
	return err
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
	for _, m := range c.goes {
		x.Detach = append(x.Detach, m.att)
	}
	for _, st := range c.ports {
		pc := portConfig(st.will, st.counters)
		if st.was == nil {
			x.Attach = append(x.Attach, vswitch.NewPort{Config: pc, Port: st.opened.Transmitter()})
			continue
		}
		x.Reconfigure = append(x.Reconfigure, vswitch.Reconfiguration{Attachment: st.was.att, Config: pc, Port: st.change.Transmitter})
	}
	x.Static = staticEntries(c.cfg.FDB)
	mcast := c.cfg.Switch.Mcast()
	x.Mcast = &mcast
	attached, err := c.d.sw.Apply(&x)
	if err != nil {
		return refusals(c.cfg, err, nil)
	}
	closeAll(c.goes)
	var ports []*member
	for _, st := range c.ports {
		m := &member{cfg: st.will, counters: st.counters}
		if st.was == nil {
			m.port, m.att = st.opened, attached[0]
			attached = attached[1:]
			m.port.Begin(m.att)
		} else {
			m.port, m.att = st.was.port, st.was.att
			st.change.Apply()
		}
		ports = append(ports, m)
	}
	c.d.publish(c.cfg, ports)
	for _, o := range c.d.openers {
		o.Changed()
	}
	return nil
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
