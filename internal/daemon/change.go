package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"

	"vswitchd/internal/config"
	vswitch "vswitchd/switch"
)

// A change is a reload under way. It goes in steps, each of which notes how to take it
// back. Nothing that two configurations may both have (a name, a socket, an
// interface, a pinned address) is taken before who had it has let go of it.
type change struct {
	d         *Daemon
	was, will map[string]setting
	oldFDB    []config.FDBEntry
	newFDB    []config.FDBEntry

	goes   []string // ports that are closed: gone or replaced
	comes  []string // ports that are opened: new or replacing
	adjust []string // ports that stay and are bridged otherwise, or offer something else to the next front-end
	lines  []string // what to tell the operator

	ports map[string]port // as they are at this point of the change
	done  []func()        // take back what has been done so far, in order
}

func (d *Daemon) compare(old, now *config.Config) *change {
	c := &change{
		d: d, was: byName(settings(old)), will: byName(settings(now)),
		oldFDB: old.FDB, newFDB: now.FDB,
		ports: make(map[string]port),
	}
	for _, p := range d.snapshot() {
		c.ports[p.name()] = p
	}
	for name, o := range c.was {
		n, stays := c.will[name]
		switch {
		case !stays:
			c.goes = append(c.goes, name)
			c.lines = append(c.lines, "port "+name+" removed")
		case c.ports[name] == nil: // an undone change could not open it again
			c.comes = append(c.comes, name)
			c.lines = append(c.lines, "port "+name+" opened again")
		case !o.same(n):
			c.goes, c.comes = append(c.goes, name), append(c.comes, name)
			c.lines = append(c.lines, "port "+name+" replaced")
		case !o.bridged(n) || !o.offered(n) || !o.limited(n):
			c.adjust = append(c.adjust, name)
			if !o.bridged(n) {
				c.lines = append(c.lines, "port "+name+" reconfigured")
			}
			if !o.limited(n) {
				c.lines = append(c.lines, "port "+name+" has another max_memory, for what is mapped from now on")
			}
			if !o.offered(n) {
				c.lines = append(c.lines, "port "+name+" will offer other offloads to the next front-end that connects")
			}
		}
	}
	for name := range c.will {
		if _, had := c.was[name]; !had {
			c.comes = append(c.comes, name)
			c.lines = append(c.lines, "port "+name+" added")
		}
	}
	for _, l := range [][]string{c.goes, c.comes, c.adjust, c.lines} {
		slices.Sort(l)
	}
	c.lines = append(c.lines, compareFDB(c.oldFDB, c.newFDB)...)
	return c
}

// apply does it all. After an error, undo is to be called.
func (c *change) apply() error {
	// Pinning an address to another port replaces a static entry. So these are put
	// back last of all.
	c.then(func() { c.setStatic(c.oldFDB) })
	if err := c.release(); err != nil {
		return err
	}
	now, later := c.split()
	if err := c.open(now); err != nil {
		return err
	}
	c.close()
	if err := c.open(later); err != nil {
		return err
	}
	if err := c.reconfigure(); err != nil {
		return err
	}
	if err := c.d.setStatic(c.oldFDB, c.newFDB, c.goes); err != nil {
		return err
	}
	for _, name := range c.adjust {
		c.ports[name].reconfigured(c.will[name])
	}
	return nil
}

// then notes how to take back a step that has been done.
func (c *change) then(back func()) { c.done = append(c.done, back) }

// undo takes everything back, as far as it can be: a guest whose port had to be closed
// has to connect again.
func (c *change) undo() {
	for _, back := range slices.Backward(c.done) {
		back()
	}
}

func (c *change) failed(name string, err error) {
	c.d.log.Error("undoing a reload failed", "port", name, "error", err)
}

// release takes from ports that stay the addresses that are to be other ports'.
func (c *change) release() error {
	wanted := func(mac net.HardwareAddr, by string) bool {
		for name, s := range c.will {
			if name != by && mac != nil && bytes.Equal(s.mac(), mac) {
				return true
			}
		}
		return false
	}
	for _, name := range c.adjust {
		if !wanted(c.was[name].mac(), name) {
			continue
		}
		cfg := c.ports[name].attachment().Config()
		cfg.MACs = nil
		if err := c.rebridge(name, cfg); err != nil {
			return err
		}
	}
	return nil
}

// split divides the ports that come into those that can be opened at once and those
// that need something which a port has that goes.
func (c *change) split() (now, later []string) {
	busy := make(map[string]bool)
	claims := func(s setting) []string {
		l := []string{"name " + s.name, s.resource}
		if mac := s.mac(); mac != nil {
			l = append(l, "mac "+mac.String())
		}
		return l
	}
	for _, name := range c.goes {
		for _, what := range claims(c.was[name]) {
			busy[what] = true
		}
	}
	for _, name := range c.comes {
		if slices.ContainsFunc(claims(c.will[name]), func(what string) bool { return busy[what] }) {
			later = append(later, name)
		} else {
			now = append(now, name)
		}
	}
	return now, later
}

func (c *change) open(names []string) error {
	for _, name := range names {
		p, err := c.d.open(c.will[name])
		if err != nil {
			return err
		}
		c.ports[name] = p
		c.then(func() {
			delete(c.ports, name)
			p.close()
		})
	}
	return nil
}

// close closes what goes.
func (c *change) close() {
	for _, name := range c.goes {
		p := c.ports[name]
		if p == nil {
			continue
		}
		delete(c.ports, name)
		p.close()
		c.then(func() {
			p, err := c.d.open(c.was[name])
			if err != nil {
				c.failed(name, fmt.Errorf("the port is gone: %w", err))
				return
			}
			c.ports[name] = p
		})
	}
}

// reconfigure changes the bridging of what stays.
func (c *change) reconfigure() error {
	for _, name := range c.adjust {
		if err := c.rebridge(name, c.will[name].portConfig(nil)); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) rebridge(name string, cfg vswitch.PortConfig) error {
	a := c.ports[name].attachment()
	was := a.Config()
	if err := a.Reconfigure(cfg); err != nil {
		return err
	}
	c.then(func() {
		if err := a.Reconfigure(was); err != nil {
			c.failed(name, err)
		}
	})
	return nil
}

// setStatic makes entries the static ones, whatever has been done to them.
func (c *change) setStatic(entries []config.FDBEntry) {
	all := slices.Collect(maps.Keys(c.was)) // any port may have been closed
	if err := c.d.setStatic(c.newFDB, entries, all); err != nil {
		c.failed("", err)
	}
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
		m[entryKey{vswitch.MAC(e.MAC), e.VLAN}] = e.Port
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

// setStatic makes the FDB have the static entries in now, and no longer those of
// old that are not in now. Entries of ports that were closed have gone with them.
// Those that stay are not touched: there is no moment in which they are missing.
func (d *Daemon) setStatic(old, now []config.FDBEntry, closed []string) error {
	was, will := entryMap(old), entryMap(now)
	var errs []error
	for i := range now {
		e := &now[i]
		if was[entryKey{vswitch.MAC(e.MAC), e.VLAN}] == e.Port && !slices.Contains(closed, e.Port) {
			continue
		}
		if err := d.sw.AddStatic(vswitch.MAC(e.MAC), e.VLAN, e.Port); err != nil {
			errs = append(errs, fmt.Errorf("%s: fdb: %w", e.At("mac"), err))
		}
	}
	for k := range was {
		if will[k] != "" {
			continue
		}
		err := d.sw.DelFDB(k.mac, k.vlan)
		// It may have gone with its port, or be pinned to another one now.
		if err != nil && !errors.Is(err, vswitch.ErrNoEntry) && !errors.Is(err, vswitch.ErrAddressPinned) {
			errs = append(errs, fmt.Errorf("fdb: %w", err))
		}
	}
	return errors.Join(errs...)
}
