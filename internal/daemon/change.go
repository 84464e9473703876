package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vswitchd/internal/config"
	"vswitchd/internal/port"
	vswitch "vswitchd/switch"
)

// A change replaces one configuration of the ports by another one, in two phases.
//
// sets returns the sets of the switch after the change.
func (c *change) sets() []vswitch.SetConfig {
	return mergeSets(c.old.Sets, c.cfg.Sets, c.d.sw.Sets(), c.keep)
}

// check returns the errors that --check would find, except those of sockets and interfaces, and
// what the sandbox prevents. Ports that do not change have been accepted; that a machine no longer
// has what they need is no reason to refuse a change of something else.
func (c *change) check() error {
	var errs config.Errors
	for _, st := range c.ports {
		if st.was == nil || len(st.will.Differing(st.was.cfg)) > 0 {
			errs = append(errs, c.d.kinds.of(st.will).CheckMachine(st.will)...)
			errs = append(errs, c.d.checkSandbox(st.will)...)
		}
	}
	return errs.With(c.d.kinds.checkSwitch(c.cfg)).Err()
}

// prepare opens the sockets and interfaces that the new configuration needs and the old one does
// not have. Nearly every error occurs in this phase, in which no existing port is affected.
//
// commit applies the change to the switch, as a whole or not at all. After the switch has accepted
// the change nothing can fail: commit closes the removed ports and starts the new ones.
//
// A port is identified by its socket or interface. If the new configuration has the same socket or
// interface under another name, the port is renamed. Only if its socket or interface is not in the
// new configuration is a port matched by name, and moved to the new socket or interface. In both
// cases the port keeps its front-end and its counters. A renamed port also keeps the addresses
// learned from it, and so does a guest's port that is moved.
type change struct {
	d     *Daemon
	old   *config.Config
	cfg   *config.Config
	keep  bool // what was changed by hand stays where the configurations are the same
	ports []*step
	gone  []*member // removed ports
	lines []string  // descriptions of the changes for the operator
	undo  []func()  // revert what prepare has done so far, in reverse order

	from *inheritance // ports are adopted from another process; nil: they are opened
}

// A step is one port of the new configuration.
type step struct {
	was  *member // nil: the port is new
	will *config.Port

	counters *vswitch.Counters
	opened   port.Port   // for a new port: opened by prepare
	change   port.Change // for an existing port: prepared by prepare
}

// compare matches the ports of the new configuration with the existing ones.
func (d *Daemon) compare(old, now *config.Config, keep bool) *change {
	c := &change{d: d, old: old, cfg: now, keep: keep}
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
	c.gone = was
	for _, m := range was {
		c.lines = append(c.lines, "port "+m.cfg.Name+" removed")
	}
	slices.Sort(c.lines)
	c.lines = append(c.lines, compareFDB(old.FDB, now.FDB)...)
	if was, will := old.Switch.Times(), now.Switch.Times(); was.AgingTime != will.AgingTime {
		c.lines = append(c.lines, fmt.Sprintf("switch.mac_aging_time: %v -> %v", was.AgingTime, will.AgingTime))
	}
	if was, will := old.Switch.Times(), now.Switch.Times(); was.HoldDown != will.HoldDown {
		c.lines = append(c.lines, fmt.Sprintf("switch.mac_hold_down: %v -> %v", was.HoldDown, will.HoldDown))
	}
	if old.Switch.Loop() != now.Switch.Loop() {
		c.lines = append(c.lines, "loop detection reconfigured")
	}
	if !old.Switch.Mcast().Equal(now.Switch.Mcast()) {
		c.lines = append(c.lines, "multicast snooping reconfigured")
	}
	c.lines = append(c.lines, compareMDB(old.MDB, now.MDB)...)
	c.lines = append(c.lines, compareNeighbors(old.Neighbors, now.Neighbors)...)
	c.lines = append(c.lines, compareMirrors(old.Mirrors, now.Mirrors)...)
	c.lines = append(c.lines, compareFilters(old.Filters, now.Filters)...)
	c.lines = append(c.lines, compareSets(d.sw.Sets(), c.sets())...)
	if old.Switch.Poll != now.Switch.Poll {
		c.lines = append(c.lines, "switch.poll changed")
	}
	if old.Switch.Latency != now.Switch.Latency {
		c.lines = append(c.lines, "switch.latency changed")
	}
	return c
}

// prepare opens the sockets and interfaces that the change needs. Its error joins the errors of all
// ports; the caller must then call rollBack.
func (c *change) prepare(ctx context.Context) error {
	var errs []error
	for _, st := range c.ports {
		if err := c.prepareStep(ctx, st); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", st.key(), err))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return errors.Join(errs...)
}

// key returns the position and name of the configuration key that an error of the step refers to.
func (st *step) key() string {
	place := st.will.Place()
	if place.Key == "" {
		return st.will.At("").String() + ": " + st.will.Path()
	}
	return st.will.At(place.Key).String() + ": " + st.will.Path() + "." + place.Key
}

// prepareStep opens the socket or interface that one port needs.
func (c *change) prepareStep(ctx context.Context, st *step) (err error) {
	if st.was == nil {
		open := c.d.openers[st.will.Kind.Name].Open
		if c.from != nil {
			open = c.from.adopt
		}
		if st.opened, err = open(ctx, st.will, st.counters); err == nil {
			c.undo = append(c.undo, st.opened.Close)
		}
		return err
	}
	if st.change, err = st.was.port.Prepare(ctx, st.was.cfg, st.will); err == nil && st.change.Undo != nil {
		c.undo = append(c.undo, st.change.Undo)
	}
	return err
}

// rollBack reverts what prepare has done.
func (c *change) rollBack() {
	for _, undo := range slices.Backward(c.undo) {
		undo()
	}
}

// commit applies the change. If the switch refuses it, commit returns the reasons, and the caller
// must call rollBack.
func (c *change) commit() error {
	var x vswitch.Change
	for _, m := range c.gone {
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
	x.KeepStatic = c.keep && len(compareFDB(c.old.FDB, c.cfg.FDB)) == 0
	if !x.KeepStatic {
		x.Static = staticEntries(c.cfg.FDB)
	}
	mcast, times, loop := c.cfg.Switch.Mcast(), c.cfg.Switch.Times(), c.cfg.Switch.Loop()
	x.Mcast, x.FDB, x.Loop = &mcast, &times, &loop
	x.Neighbors, x.SetNeighbors = neighbors(c.cfg.Neighbors), true
	if x.SetGroups = !c.keep || len(compareMDB(c.old.MDB, c.cfg.MDB)) > 0; x.SetGroups {
		x.Groups = staticGroups(c.cfg.MDB)
	}
	x.Mirrors, x.SetMirrors = mirrorConfigs(c.cfg.Mirrors), true
	x.Filters, x.Sets, x.SetFilters = filterConfigs(c.cfg.Filters), c.sets(), true
	attached, err := c.d.sw.Apply(&x)
	if err != nil {
		return refusals(c.cfg, err, nil)
	}
	closeAll(c.gone)
	if c.from != nil {
		c.from.restoreSwitch()
	}
	var ports []*member
	for _, st := range c.ports {
		m := &member{cfg: st.will, counters: st.counters, since: time.Now()}
		if c.from != nil {
			m.since = c.from.since[st.counters]
		}
		if st.was == nil {
			m.port, m.att = st.opened, attached[0]
			attached = attached[1:]
			m.port.Begin(m.att)
		} else {
			m.port, m.att, m.since = st.was.port, st.was.att, st.was.since
			st.change.Apply()
		}
		ports = append(ports, m)
	}
	c.d.pool.SetPoll(pollTime(c.cfg.Switch.Poll), c.cfg.Switch.Latency)
	c.d.publish(c.cfg, ports)
	c.d.events.portsChanged(c)
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

// entryKey identifies an FDB entry.
type entryKey struct {
	mac  vswitch.MAC
	vlan uint16
	all  bool
}

func (k entryKey) String() string {
	if k.all {
		return fmt.Sprintf("static entry %s in every VLAN", k.mac)
	}
	return fmt.Sprintf("static entry %s in VLAN %d", k.mac, k.vlan)
}

// entryMap returns what becomes of the frames to each address.
func entryMap(entries []config.FDBEntry) map[entryKey]string {
	m := make(map[entryKey]string)
	for i := range entries {
		e := &entries[i]
		to := e.Port
		switch e.Kind {
		case vswitch.FDBStatic:
		case vswitch.FDBBlackhole:
			to = e.Kind.String()
		default:
			to += ", " + e.Kind.String()
		}
		m[entryKey{e.MAC, e.VLAN, e.All}] = to
	}
	return m
}

// compareFDB returns a line for each static entry that is added, moved or removed.
func compareFDB(old, now []config.FDBEntry) (lines []string) {
	was, will := entryMap(old), entryMap(now)
	for k, to := range will {
		if was[k] != to {
			lines = append(lines, k.String()+" -> "+to)
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
