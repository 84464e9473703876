package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"

	"vswitchd/internal/config"
	vswitch "vswitchd/switch"
)

// ErrNeedsRestart is wrapped by Reload's error when a setting has changed that is
// only read at start.
var ErrNeedsRestart = errors.New("cannot change while vswitchd is running")

// Reload changes the running switch to cfg, as a whole or not at all, and
// returns a line for each thing that changed.
//
// A port whose bridging alone has changed keeps its guest. What is new is opened
// first wherever nothing that goes stands in the way, so that the likeliest errors
// (an unknown interface, a socket in use) show before any guest has felt anything.
func (d *Daemon) Reload(cfg *config.Config) (changed []string, err error) {
	d.reload.Lock()
	defer d.reload.Unlock()
	old := d.cfg
	if err := fixed(old, cfg); err != nil {
		return nil, err
	}
	c := d.compare(old, cfg)
	if err := c.open(); err != nil {
		c.undo()
		return nil, err
	}
	if err := c.reconfigure(); err != nil {
		c.undo()
		return nil, err
	}
	d.pool.SetPoll(pollTime(cfg.Switch.Poll))
	if old.Switch.Poll != cfg.Switch.Poll {
		c.lines = append(c.lines, "switch.poll changed")
	}
	ports := c.ports(cfg)
	d.mu.Lock()
	d.cfg, d.ports = cfg, ports
	d.mu.Unlock()
	return c.lines, nil
}

// fixed refuses changes of what cannot change.
func fixed(old, now *config.Config) error {
	var errs []error
	check := func(same bool, key string) {
		if !same {
			errs = append(errs, fmt.Errorf("%s %w", key, ErrNeedsRestart))
		}
	}
	o, n := old.Switch, now.Switch
	check(o.Workers == n.Workers, "switch.workers")
	check(slices.Equal(o.CPUs, n.CPUs), "switch.cpus")
	check(o.MACAging == n.MACAging, "switch.mac_aging_time")
	check(o.MACTable == n.MACTable, "switch.mac_table_size")
	check(old.Control == now.Control, "control")
	return errors.Join(errs...)
}

// A change is a reload under way.
type change struct {
	d        *Daemon
	old, now *config.Config

	current map[string]port // before the change
	goes    []string        // names of ports that are closed: gone or replaced
	comes   []string        // names of ports that are opened: new or replacing
	adjust  []string        // names of ports that stay and are bridged otherwise

	closed   []string        // of goes, what has been closed
	opened   map[string]port // of comes, what has been opened
	adjusted []adjusted
	lines    []string
}

type adjusted struct {
	port port
	was  vswitch.PortConfig
}

func (d *Daemon) compare(old, now *config.Config) *change {
	c := &change{d: d, old: old, now: now, current: make(map[string]port), opened: make(map[string]port)}
	for _, p := range d.snapshot() {
		c.current[p.name()] = p
	}
	was, will := settings(old), settings(now)
	for name, o := range was {
		n, stays := will[name]
		switch {
		case !stays:
			c.goes = append(c.goes, name)
			c.lines = append(c.lines, "port "+name+" removed")
		case o.resource != n.resource || !o.same(n):
			c.goes, c.comes = append(c.goes, name), append(c.comes, name)
			c.lines = append(c.lines, "port "+name+" replaced")
		case !o.bridged(n):
			c.adjust = append(c.adjust, name)
			c.lines = append(c.lines, "port "+name+" reconfigured")
		}
	}
	for name := range will {
		if _, had := was[name]; !had {
			c.comes = append(c.comes, name)
			c.lines = append(c.lines, "port "+name+" added")
		}
	}
	for _, l := range [][]string{c.goes, c.comes, c.adjust, c.lines} {
		slices.Sort(l)
	}
	return c
}

// A setting is a port of either kind, as configured.
type setting struct {
	resource string // what only one port can have: a socket, an interface
	guest    *config.Port
	uplink   *config.Uplink
}

func settings(cfg *config.Config) map[string]setting {
	m := make(map[string]setting)
	for i := range cfg.Uplinks {
		u := &cfg.Uplinks[i]
		m[u.Name] = setting{resource: "interface " + u.Interface, uplink: u}
	}
	for i := range cfg.Ports {
		p := &cfg.Ports[i]
		m[p.Name] = setting{resource: fmt.Sprintf("%s socket %s %d", p.Mode, p.Socket, p.FD), guest: p}
	}
	return m
}

// same reports whether two settings differ in bridging at most.
func (s setting) same(o setting) bool {
	switch {
	case s.guest != nil && o.guest != nil:
		g := *s.guest
		g.Bridging, g.MAC = o.guest.Bridging, o.guest.MAC
		return g.Equal(o.guest)
	case s.uplink != nil && o.uplink != nil:
		u := *s.uplink
		u.Bridging = o.uplink.Bridging
		return u.Equal(o.uplink)
	}
	return false
}

// bridged reports whether two settings of one kind are bridged alike.
func (s setting) bridged(o setting) bool {
	if s.guest != nil {
		return s.guest.Bridging.Equal(&o.guest.Bridging) && bytes.Equal(s.guest.MAC, o.guest.MAC)
	}
	return s.uplink.Bridging.Equal(&o.uplink.Bridging)
}

func (c *change) openOne(s setting) (port, error) {
	if s.guest != nil {
		return c.d.openGuest(s.guest)
	}
	return c.d.openUplink(s.uplink)
}

// open opens what comes and closes what goes.
func (c *change) open() error {
	was, will := settings(c.old), settings(c.now)
	busy := make(map[string]bool)
	for _, name := range c.goes {
		busy[was[name].resource] = true
		busy["name "+name] = true
	}
	var later []string
	for _, name := range c.comes {
		s := will[name]
		if s.uplink != nil {
			// Known before anything is closed.
			if _, err := net.InterfaceByName(s.uplink.Interface); err != nil {
				return fmt.Errorf("uplink %s: interface %s: %w", name, s.uplink.Interface, err)
			}
		}
		if busy[s.resource] || busy["name "+name] {
			later = append(later, name)
		} else if err := c.openNamed(name, s); err != nil {
			return err
		}
	}
	for _, name := range c.goes {
		c.current[name].close()
		c.closed = append(c.closed, name)
	}
	for _, name := range later {
		if err := c.openNamed(name, will[name]); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) openNamed(name string, s setting) error {
	p, err := c.openOne(s)
	if err == nil {
		c.opened[name] = p
	}
	return err
}

// reconfigure changes what stays, and the static entries.
func (c *change) reconfigure() error {
	will := settings(c.now)
	for _, name := range c.adjust {
		p, s := c.current[name], will[name]
		was := p.attachment().Config()
		var err error
		if s.guest != nil {
			err = p.attachment().Reconfigure(bridging(name, s.guest.MAC, &s.guest.Bridging, nil))
		} else {
			err = p.attachment().Reconfigure(bridging(name, nil, &s.uplink.Bridging, nil))
		}
		if err != nil {
			return err
		}
		c.adjusted = append(c.adjusted, adjusted{p, was})
	}
	if err := c.d.setStatic(c.old.FDB, c.now.FDB); err != nil {
		return err
	}
	for _, name := range c.adjust {
		c.current[name].reconfigured(will[name])
	}
	return nil
}

// undo restores what was before, as far as it can be: a guest whose port had to be
// closed has to connect again.
func (c *change) undo() {
	for _, a := range c.adjusted {
		if err := a.port.attachment().Reconfigure(a.was); err != nil {
			c.d.log.Error("undoing a reload failed", "port", a.port.name(), "error", err)
		}
	}
	for _, p := range c.opened {
		p.close()
	}
	was := settings(c.old)
	back := make(map[string]port)
	for _, name := range c.closed {
		p, err := c.openOne(was[name])
		if err != nil {
			c.d.log.Error("undoing a reload failed, the port is gone", "port", name, "error", err)
			continue
		}
		back[name] = p
	}
	c.opened = back
	ports := c.ports(c.old)
	c.d.mu.Lock()
	c.d.ports = ports
	c.d.mu.Unlock()
	if err := c.d.setStatic(c.now.FDB, c.old.FDB); err != nil {
		c.d.log.Error("undoing a reload failed", "error", err)
	}
}

// ports returns the ports that there are now, in the order of a configuration.
func (c *change) ports(cfg *config.Config) []port {
	var ps []port
	add := func(name string) {
		p := c.opened[name]
		if p == nil && !slices.Contains(c.closed, name) {
			p = c.current[name]
		}
		if p != nil {
			ps = append(ps, p)
		}
	}
	for i := range cfg.Uplinks {
		add(cfg.Uplinks[i].Name)
	}
	for i := range cfg.Ports {
		add(cfg.Ports[i].Name)
	}
	return ps
}

// setStatic makes the FDB have the static entries in now, and no longer those of
// old that are not in now. Entries of a port that was closed are gone already.
func (d *Daemon) setStatic(old, now []config.FDBEntry) error {
	type key struct {
		mac  vswitch.MAC
		vlan uint16
	}
	keep := make(map[key]bool)
	for i := range now {
		e := &now[i]
		keep[key{vswitch.MAC(e.MAC), e.VLAN}] = true
		if err := d.sw.AddStatic(vswitch.MAC(e.MAC), e.VLAN, e.Port); err != nil {
			return fmt.Errorf("%s: fdb: %w", e.At("mac"), err)
		}
	}
	for _, e := range old {
		if k := (key{vswitch.MAC(e.MAC), e.VLAN}); !keep[k] {
			if err := d.sw.DelFDB(k.mac, k.vlan); err != nil && !errors.Is(err, vswitch.ErrNoEntry) {
				return fmt.Errorf("fdb: %w", err)
			}
		}
	}
	return nil
}
