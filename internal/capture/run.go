package capture

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// The reader of a capture's ring: one goroutine, which writes to the client.

// linger is how long the reader waits after it has written everything, so that it is not woken for
// each batch.
const linger = 2 * time.Millisecond

// writeSize is how many bytes are passed to the client at once.
const writeSize = 64 << 10

// Run writes what is captured to w as pcapng, until ctx is done, Stop is called, or a limit of
// Config is reached. flush is called when nothing more is left to be written for now. Run may wait
// for w for any time. It returns an error if w fails, and nil otherwise. A capture is over, and its
// memory is given back, when Run returns.
func (c *Capture) Run(ctx context.Context, w io.Writer, flush func() error) error {
	defer c.pool.close(c)
	out := bufio.NewWriterSize(w, writeSize)
	file, err := newFile(out, c)
	if err != nil {
		return err
	}
	var expired <-chan time.Time
	if c.cfg.Duration > 0 {
		t := time.NewTimer(c.cfg.Duration)
		defer t.Stop()
		expired = t.C
	}
	pass := func() error {
		if err := cmp.Or(file.Flush(), out.Flush()); err != nil {
			return fmt.Errorf("writing the capture: %w", err)
		}
		return flush()
	}
	for over := false; ; {
		full, err := c.drain(file)
		if err != nil {
			return err
		}
		if full || over {
			break
		}
		if err := pass(); err != nil {
			return err
		}
		if over = c.wait(ctx, expired); over {
			c.remove() // no more frames come, and those that have come are written
		}
	}
	if err := file.statistics(c); err != nil {
		return err
	}
	return pass()
}

// wait waits until there are frames, and reports whether the capture is to end.
func (c *Capture) wait(ctx context.Context, expired <-chan time.Time) (over bool) {
	select {
	case <-time.After(linger):
	case <-ctx.Done():
		return true
	case <-c.stop:
		return true
	case <-expired:
		return true
	}
	c.asleep.Store(true)
	if c.ring.next() != nil {
		c.asleep.Store(false)
		return false
	}
	select {
	case <-c.wake:
		return false
	case <-ctx.Done():
	case <-c.stop:
	case <-expired:
	}
	return true
}

// drain writes all frames that are in the ring, and reports whether Config.Count is reached.
func (c *Capture) drain(file *file) (full bool, err error) {
	for {
		if c.cfg.Count > 0 && c.captured.Load() == c.cfg.Count {
			return true, nil
		}
		e := c.ring.next()
		if e == nil {
			return false, nil
		}
		if err := file.write(c, e); err != nil {
			return false, err
		}
		c.ring.release(e)
		c.captured.Add(1)
		c.pool.captured.Add(1)
	}
}

// byID returns the ports of which frames have been seen, and those of Config.Ports, in the order of
// their interfaces.
func (c *Capture) byID() []*portCount {
	return slices.SortedFunc(maps.Values(*c.ports.Load()), func(a, b *portCount) int { return cmp.Compare(a.id, b.id) })
}
