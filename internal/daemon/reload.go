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
func (d *Daemon) Reload(cfg *config.Config) (changed []string, err error) {
	select {
	case d.reloading <- struct{}{}:
		defer func() { <-d.reloading }()
	case <-d.life.Done():
		return nil, errStopped
	}
	if err := checkFixed(d.cfg, cfg); err != nil {
		return nil, err
	}
	c := d.compare(d.cfg, cfg)
	if err := d.carryOut(c); err != nil {
		return nil, err
	}
	if poll := pollTime(cfg.Switch.Poll); poll != d.poll {
		d.pool.SetPoll(poll)
		d.poll = poll
		c.lines = append(c.lines, "switch.poll changed")
	}
	return c.lines, nil
}

// carryOut prepares and commits a change. After an error everything is as before.
func (d *Daemon) carryOut(c *change) error {
	if errs := d.kinds.checkSwitch(c.cfg); len(errs) > 0 {
		return errs
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
