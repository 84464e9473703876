package daemon

import (
	"errors"
	"fmt"
	"slices"

	"vswitchd/internal/config"
)

// ErrNeedsRestart is wrapped by Reload's error when a setting has changed that is
// only read at start.
var ErrNeedsRestart = errors.New("cannot change while vswitchd is running")

// errStopped is Reload's when it comes too late.
var errStopped = errors.New("vswitchd is stopping")

// Reload changes the running switch to cfg, as a whole or not at all, and
// returns a line for each thing that changed.
//
// A port whose bridging alone has changed keeps its guest. What is new is opened
// first wherever nothing that goes stands in the way, so that the likeliest errors
// (a socket in use, a file in its place) show before any guest has felt anything.
func (d *Daemon) Reload(cfg *config.Config) (changed []string, err error) {
	d.reload.Lock()
	defer d.reload.Unlock()
	if d.stopped {
		return nil, errStopped
	}
	if err := fixed(d.cfg, cfg); err != nil {
		return nil, err
	}
	c := d.compare(d.cfg, cfg)
	if err := c.apply(); err != nil {
		c.undo()
		d.publish(d.cfg, c.ports)
		return nil, err
	}
	if d.cfg.Switch.Poll != cfg.Switch.Poll {
		d.pool.SetPoll(pollTime(cfg.Switch.Poll))
		c.lines = append(c.lines, "switch.poll changed")
	}
	d.publish(cfg, c.ports)
	d.warnScarce()
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

// publish makes ports, by name, those of the daemon, in the order of cfg.
func (d *Daemon) publish(cfg *config.Config, ports map[string]port) {
	var list []port
	for _, s := range settings(cfg) {
		if p := ports[s.name]; p != nil {
			list = append(list, p)
		}
	}
	d.cfg = cfg
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ports = list
}
