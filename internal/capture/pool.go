package capture

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	vswitch "vswitchd/switch"
)

// Limits of all captures of a Pool together.
const (
	MaxCaptures = 8
	MaxMemory   = 160 << 20 // bytes
)

// Errors that callers may want to distinguish.
var (
	ErrTooMany   = errors.New("too many captures")
	ErrNoMemory  = errors.New("captures need too much memory")
	ErrNoCapture = errors.New("no such capture")
)

// A Pool is the captures of a switch. Its methods may be called from any goroutine.
type Pool struct {
	sw       *vswitch.Switch
	captured atomic.Uint64 // of all captures since the start
	lost     atomic.Uint64 // likewise

	mu     sync.Mutex
	last   int // id
	memory int // bytes
	open   map[int]*Capture
}

// NewPool returns the pool of a switch.
func NewPool(sw *vswitch.Switch) *Pool { return &Pool{sw: sw, open: make(map[int]*Capture)} }

// Open begins a capture. Its Run has to be called: it ends the capture, and gives back what Open
// has reserved.
func (p *Pool) Open(cfg Config) (*Capture, error) {
	cfg.Snaplen = cmp.Or(cfg.Snaplen, MaxSnaplen)
	cfg.Buffer = cmp.Or(cfg.Buffer, DefaultBuffer)
	if cfg.Snaplen < MinSnaplen || cfg.Snaplen > MaxSnaplen {
		return nil, fmt.Errorf("snaplen %d is not in %d to %d", cfg.Snaplen, MinSnaplen, MaxSnaplen)
	}
	if cfg.Buffer < MinBuffer || cfg.Buffer > MaxBuffer {
		return nil, fmt.Errorf("a buffer of %d bytes is not in %d to %d", cfg.Buffer, MinBuffer, MaxBuffer)
	}
	if len(cfg.Ports) == 0 {
		return nil, errors.New("there are no ports")
	}
	cfg.Buffer = 1 << bits.Len(uint(cfg.Buffer-1)) // the next power of two
	p.mu.Lock()
	defer p.mu.Unlock()
	size := sizeOfRing(cfg.Buffer)
	switch {
	case len(p.open) == MaxCaptures:
		return nil, fmt.Errorf("%w: there are %d, which is the most", ErrTooMany, MaxCaptures)
	case p.memory+size > MaxMemory:
		return nil, fmt.Errorf("%w: %d bytes are left, a buffer of %d bytes needs %d", ErrNoMemory, MaxMemory-p.memory, cfg.Buffer, size)
	}
	c := &Capture{
		id: p.last + 1, cfg: cfg, pool: p, started: time.Now(),
		stop: make(chan struct{}), wake: make(chan struct{}, 1), ring: newRing(cfg.Buffer),
	}
	ports := make(map[string]*portCount)
	for _, name := range cfg.Ports {
		if ports[name] == nil {
			ports[name] = &portCount{name: name, id: len(ports)}
		}
	}
	c.ports.Store(&ports)
	var err error
	if c.remove, err = p.sw.AddTap(cfg.Select, c); err != nil {
		return nil, err
	}
	p.memory += size
	p.last++
	p.open[c.id] = c
	return c, nil
}

// close gives back what a capture has reserved.
func (p *Pool) close(c *Capture) {
	c.remove()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c.id)
	p.memory -= sizeOfRing(c.cfg.Buffer)
}

// Stop stops a capture; see Capture.Stop.
func (p *Pool) Stop(id int) (Info, error) {
	p.mu.Lock()
	c := p.open[id]
	p.mu.Unlock()
	if c == nil {
		return Info{}, fmt.Errorf("%w: %d", ErrNoCapture, id)
	}
	c.Stop()
	return c.Info(), nil
}

// List describes all captures, the oldest first.
func (p *Pool) List() (list []Info) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(p.open)) {
		list = append(list, p.open[id].Info())
	}
	return list
}

// Totals returns how many frames all captures together, those that have ended included, have
// written and lost.
func (p *Pool) Totals() (captured, lost uint64) { return p.captured.Load(), p.lost.Load() }
