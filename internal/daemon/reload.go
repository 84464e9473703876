package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vswitchd/internal/config"
)

// ErrNeedsRestart is wrapped by Reload's error if a setting has changed that is read only at start.
var ErrNeedsRestart = errors.New("cannot change while vswitchd is running, restart it")

// errStopped is the error of a Reload during or after the daemon's end.
var errStopped = errors.New("vswitchd is stopping")

// abortTimeout is how long close waits for an aborted reload to return. Only a blocking system call
// can delay the reload, such as one on a file system that does not respond.
const abortTimeout = 3 * time.Second

// Reload changes the running switch to cfg, as a whole or not at all, and returns one line for each
// change. If it returns an error, every port is unchanged; however, other processes may have seen a
// new socket for a short time.
//
// What was changed by hand (FDB entries, members of groups, entries of sets) and contradicts cfg is
// undone.
func (d *Daemon) Reload(cfg *config.Config) (changed []string, err error) {
	return d.change(cfg, false, (*Daemon).carryOut)
}

// Change is Reload for a configuration that was edited: what was changed by hand stays as it is in
// the parts of the configuration in which cfg is no different.
func (d *Daemon) Change(cfg *config.Config) (changed []string, err error) {
	return d.change(cfg, true, (*Daemon).carryOut)
}

// Try returns what Change would, and changes nothing. It does not try to open sockets and
// interfaces.
func (d *Daemon) Try(cfg *config.Config) (changed []string, err error) {
	return d.change(cfg, true, func(_ *Daemon, c *change) error {
		return c.check()
	})
}

// change compares cfg with the running configuration, does something with the change, and returns
// its lines.
func (d *Daemon) change(cfg *config.Config, keep bool, do func(*Daemon, *change) error) ([]string, error) {
	select {
	case d.reloading <- struct{}{}:
		defer func() { <-d.reloading }()
	case <-d.life.Done():
		return nil, errStopped
	}
	if err := checkFixed(d.cfg, cfg); err != nil {
		return nil, err
	}
	c := d.compare(d.cfg, cfg, keep)
	if err := do(d, c); err != nil {
		return nil, err
	}
	return c.lines, nil
}

// carryOut prepares and commits a change. After an error everything is as before.
func (d *Daemon) carryOut(c *change) error {
	if err := c.check(); err != nil {
		return err
	}
	err := c.prepare(d.life)
	if err == nil {
		d.committing.Lock()
		defer d.committing.Unlock()
		if err = context.Cause(d.life); err == nil {
			err = c.commit()
		}
	}
	if err != nil {
		c.rollBack()
	}
	return err
}

// checkFixed returns an error for each changed setting that is read only at start.
func checkFixed(old, now *config.Config) error {
	var errs []error
	for _, s := range now.NeedRestart(old) {
		errs = append(errs, fmt.Errorf("%s: %w", s, ErrNeedsRestart))
	}
	return errors.Join(errs...)
}

// publish makes cfg and ports the daemon's current configuration and list of ports.
func (d *Daemon) publish(cfg *config.Config, ports []*member) {
	d.cfg = cfg
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ports = ports
}
