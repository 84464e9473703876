package vswitch_test

import (
	"fmt"
	"slices"
	"testing"

	vswitch "vswitchd/switch"
)

// The model's mirrors.

// A modelMirror is a mirror with its counters.
type modelMirror struct {
	vswitch.MirrorConfig
	frames, bytes, drops int
}

// isOutput reports whether a port is the output of a mirror.
func (m *model) isOutput(port string) bool {
	return slices.ContainsFunc(m.mirrors, func(c *modelMirror) bool { return c.Output == port })
}

// beginMirrors begins a batch: nothing has been copied to any output.
func (m *model) beginMirrors() { m.copied = make(map[string]bool) }

// mirrorFrom copies frames that come from a port, and mirrorTo frames that go to a port; source is
// the port that they come from.
func (m *model) mirrorFrom(port string, frames []modelFrame) {
	m.mirror(port, port, frames, func(c *modelMirror) []string { return c.SelectSrc })
}

func (m *model) mirrorTo(port, source string, frames []modelFrame) {
	m.mirror(port, source, frames, func(c *modelMirror) []string { return c.SelectDst })
}

func (m *model) mirror(port, source string, frames []modelFrame, selects func(*modelMirror) []string) {
	if m.isOutput(port) {
		return
	}
	for _, c := range m.mirrors {
		if !c.SelectAll && !slices.Contains(selects(c), port) {
			continue
		}
		for i := range frames {
			m.copy(c, source, frames[i])
		}
	}
}

// copy copies a frame, unless it has been copied to the output already.
func (m *model) copy(c *modelMirror, source string, f modelFrame) {
	rspan := c.Output == ""
	id := fmt.Sprintf("%s %d %p %x", c.Output, c.OutputVLAN, f.says, f.dst)
	switch {
	case m.copied[id], len(c.SelectVLAN) > 0 && !slices.Contains(c.SelectVLAN, f.vlan), rspan && (f.vlan == c.OutputVLAN || f.reserved()):
		return
	}
	if refused := c.Name + " refuses " + id; m.copied[refused] {
		return
	} else if m.decide(c.Filter, f) != "" {
		m.copied[refused] = true
		return
	}
	m.copied[id] = true
	somewhere := false
	for name, p := range m.ports {
		if !p.up || !rspan && name != c.Output || rspan && (m.isOutput(name) || !p.carries(c.OutputVLAN)) {
			continue
		}
		somewhere = true
		if rspan && name == source {
			continue
		}
		g := f
		if rspan {
			g.vlan = c.OutputVLAN
		}
		b := p.shaped(g)
		if p.mode() == vswitch.VLANAccess || p.mode() == vswitch.VLANTunnel {
			b = g.bare()
		}
		if c.Snaplen != 0 {
			b = b[:min(len(b), c.Snaplen)]
		}
		p.sent = append(p.sent, b)
		m.did["copies"]++
		c.frames++
		c.bytes += len(b)
	}
	if !somewhere {
		c.drops++
	}
}

func (m *model) compareMirrors(t *testing.T, l *lab) {
	for i, got := range l.s.Mirrors() {
		c, n := m.mirrors[i], got.Counters
		if int(n.Frames.Load()) != c.frames || int(n.Bytes.Load()) != c.bytes || int(n.Drops.Load()) != c.drops {
			t.Errorf("mirror %s: %d frames, %d bytes, %d drops; want %d, %d, %d",
				c.Name, n.Frames.Load(), n.Bytes.Load(), n.Drops.Load(), c.frames, c.bytes, c.drops)
		}
	}
}
