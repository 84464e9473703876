package capture

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	vswitch "vswitchd/switch"
)

// Config says what a capture stores.
type Config struct {
	Select vswitch.TapConfig

	// Ports are the ports whose interfaces the file begins with; others follow when a frame of
	// theirs is captured. At least one.
	Ports []string

	Filter   *Filter // nil: all frames
	Text     string  // the filter as the user wrote it, for the file and for lists
	Snaplen  int     // the most bytes of a frame that are stored; 0: MaxSnaplen
	Count    uint64  // the capture ends after so many frames; 0: no limit
	Duration time.Duration
	Buffer   int // bytes of frames that are stored while the client does not read; 0: DefaultBuffer
}

// Limits and defaults of Config.
const (
	MinSnaplen    = vswitch.MinFrameLen
	MaxSnaplen    = 262144 // tcpdump's default; no frame is longer
	MinBuffer     = 256 << 10
	DefaultBuffer = 4 << 20
	MaxBuffer     = 64 << 20
)

// A Capture is a running capture. It is a vswitch.Tap.
type Capture struct {
	id      int
	cfg     Config
	pool    *Pool
	started time.Time
	remove  func()        // ends calls of Show
	stop    chan struct{} // closed by Stop
	stopped sync.Once

	ring   *ring
	asleep atomic.Bool   // the reader waits for wake
	wake   chan struct{} // capacity 1

	ports    atomic.Pointer[map[string]*portCount]
	naming   sync.Mutex // held while ports is replaced
	captured atomic.Uint64
	lost     atomic.Uint64
}

// A portCount is what a capture has seen of a port.
type portCount struct {
	name     string
	id       int // of the interface in the file
	received atomic.Uint64
	lost     atomic.Uint64 // of these: there was no room for them
}

// maxFaults is the number of frames of a batch that may be in memory that has vanished before all
// others that are not private count as lost. A fault takes some microseconds.
const maxFaults = 4

// Show implements vswitch.Tap.
func (c *Capture) Show(at vswitch.Place, frames []*vswitch.Frame, scratch *[vswitch.MaxFrameLen]byte) {
	p := c.port(at.Port)
	now := time.Now().UnixNano()
	faults := 0
	stored, lost := uint64(0), uint64(0)
	for _, f := range frames {
		if faults >= maxFaults && len(f.Head) < f.Len {
			lost++
			continue
		}
		if c.cfg.Filter != nil {
			selected, readable := c.cfg.Filter.selects(f, scratch)
			if !readable {
				faults++
				lost++
			}
			if !selected {
				continue
			}
		}
		size := min(f.Len, c.cfg.Snaplen)
		e := c.ring.reserve(size)
		if e == nil {
			lost++
			continue
		}
		e.time, e.port, e.out, e.length, e.offload = now, p, at.Out, uint32(f.Len), f.Offload
		e.setDrop(at.Drop)
		if c.store(e, f, size, scratch); e.partial {
			faults++
		}
		e.done.Store(true)
		stored++
	}
	if stored+lost == 0 {
		return
	}
	p.received.Add(stored + lost)
	if lost > 0 {
		p.lost.Add(lost)
		c.lost.Add(lost)
		c.pool.lost.Add(lost)
	}
	if c.asleep.Load() && c.asleep.CompareAndSwap(true, false) {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// store copies the beginning of a frame to the bytes of its record.
func (c *Capture) store(e *record, f *vswitch.Frame, size int, scratch *[vswitch.MaxFrameLen]byte) {
	first, second := c.ring.space(e)
	n := 0
	if second == nil {
		n = read(first, f)
	} else {
		n = read(scratch[:size], f)
		copy(second, scratch[copy(first, scratch[:n]):n])
	}
	e.size, e.partial = uint32(n), n < size
}

func (e *record) setDrop(d *vswitch.Drop) {
	e.drop = d != nil
	if e.drop {
		e.reason, e.stage, e.from, e.filter, e.rule = d.Reason, d.Stage, d.From, d.Filter, d.Rule
	}
}

// port returns what is counted of a port. Only the first frame of a port that Config.Ports does not
// name takes a lock and allocates.
func (c *Capture) port(name string) *portCount {
	if p := (*c.ports.Load())[name]; p != nil {
		return p
	}
	c.naming.Lock()
	defer c.naming.Unlock()
	old := *c.ports.Load()
	if p := old[name]; p != nil {
		return p
	}
	ports := maps.Clone(old)
	ports[name] = &portCount{name: name, id: len(ports)}
	c.ports.Store(&ports)
	return ports[name]
}

// ID identifies the capture in its Pool.
func (c *Capture) ID() int { return c.id }

// Stop makes Run end in order, with all frames that have been captured until now. It may be called
// several times.
func (c *Capture) Stop() { c.stopped.Do(func() { close(c.stop) }) }

// Info describes a capture.
type Info struct {
	ID       int
	Config   Config
	Age      time.Duration
	Captured uint64 // frames that have been written
	Lost     uint64 // frames for which there was no room
}

// Info describes the capture.
func (c *Capture) Info() Info {
	return Info{ID: c.id, Config: c.cfg, Age: time.Since(c.started), Captured: c.captured.Load(), Lost: c.lost.Load()}
}
