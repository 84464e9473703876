package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vswitchd/internal/config"
)

// ErrNeedsRestart is wrapped by Reload's error when a setting has changed that is
// only read at start.
var ErrNeedsRestart = errors.New("cannot change while vswitchd is running, restart it")

// errStopped is Reload's when it comes too late.
var errStopped = errors.New("vswitchd is stopping")

// patience is how long the end waits for a reload that is under way and does not give up. Nothing
// but the kernel can hold that up, such as a file system that does not answer.
const patience = 3 * time.Second

// Reload changes the running switch to cfg, as a whole or not at all, and returns a line for each
// thing that changed. If it returns an error, no port has noticed anything, except that another
// process may have seen a socket that was there for a moment.
func (d *Daemon) Reload(cfg *config.Config) (changed []string, err error) {
	select {
	case d.reloading <- struct{}{}:
		defer func() { <-d.reloading }()
	case <-d.life.Done():
		return nil, errStopped
	}
	if err := fixed(d.cfg, cfg); err != nil {
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

// carryOut makes a change, or leaves everything as it was.
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
		c.takeBack()
	}
	return err
}

// fixed refuses changes of what cannot change, all of them.
func fixed(old, now *config.Config) error {
	var errs []error
	for _, s := range now.NeedRestart(old) {
		errs = append(errs, fmt.Errorf("%s: %w", s, ErrNeedsRestart))
	}
	return errors.Join(errs...)
}

// publish makes ports those of the daemon.
func (d *Daemon) publish(cfg *config.Config, ports []*member) {
	d.cfg = cfg
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ports = ports
}
