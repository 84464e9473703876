package vswitch

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// Mirrors: copies of the frames of some ports for another port or VLAN. This file has their
// configuration; stage_mirror.go makes the copies.
//
// Locking: Switch.mu guards Switch.mirrors. What the data plane reads, a mirrorSet, is immutable
// and belongs to a portSet; the counters are atomic.

// ErrBadMirror is wrapped by the errors about contradictions in a MirrorConfig.
var ErrBadMirror = errors.New("bad mirror")

// MaxMirrors is the most mirrors of a switch.
const MaxMirrors = 32

// minSnaplen is the shortest length to which a mirror cuts frames, in bytes: an Ethernet header.
// The longest one that is configurable is maxSnaplen.
const (
	minSnaplen = MinFrameLen
	maxSnaplen = 65535
)

// A MirrorConfig is the configuration of a mirror. Names and rules are those of Open vSwitch
// (ovs-vswitchd.conf.db(5), Mirror table).
type MirrorConfig struct {
	Name string // as a port's

	SelectAll  bool     // frames that come from or go to any port
	SelectSrc  []string // frames that come from these ports
	SelectDst  []string // frames that go to these ports
	SelectVLAN []uint16 // of the selected frames, only those in these VLANs; empty: in any
	Filter     string   // of these, only those that the filter of this name accepts; "": all

	// Output is the port to which the copies are sent. The port is reserved for mirrors: no other
	// frames are sent to it, and frames that come from it are dropped.
	Output string

	// OutputVLAN, if Output is empty, is the VLAN, 1 to 4094, into which the copies are sent
	// (RSPAN): by all ports that carry the VLAN, except the one that the frame came from.
	OutputVLAN uint16

	// Snaplen is the length to which copies are cut, in bytes, 14 to 65535; 0: they are not cut.
	Snaplen int
}

// MirrorCounters are the counters of a mirror.
type MirrorCounters struct {
	Frames atomic.Uint64 // copies, one for each frame and port that it is sent to
	Bytes  atomic.Uint64 // of the copies
	Drops  atomic.Uint64 // copies that the output has not taken; if it takes segments, segments
}

// MirrorInfo describes a mirror.
type MirrorInfo struct {
	Config   MirrorConfig
	Counters *MirrorCounters
}

// Mirrors returns all mirrors, in the order of the change that made them.
func (s *Switch) Mirrors() []MirrorInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mirrors)
}

// forgetMirrorOutputs removes the entries learned from ports that are outputs of mirrors. Needs mu.
func (s *Switch) forgetMirrorOutputs() {
	for _, a := range s.names {
		if a.view.mirror.output {
			s.fdb.mu.Lock()
			s.fdb.flush(a.fdb, FlushMirrorPort, AnyVLAN, entryDynamic, entrySticky)
			s.fdb.mu.Unlock()
		}
	}
}

// A mirror is what the data plane reads of a mirror.
type mirror struct {
	counters *MirrorCounters
	vlans    *vlanSet    // of frames that are selected; nil: all
	filter   *filter     // which frames that are selected have to pass; nil: none
	to       []*portView // that are up
	vlan     uint16      // output VLAN, or noVLAN
	snaplen  int
	output   int // index of the first mirror with the same output
}

// A mirrorSet is all mirrors as the data plane sees them.
type mirrorSet []mirror

// A mirroring is the part of a port in mirrors: bit i stands for the i-th mirror.
type mirroring struct {
	src, dst uint32 // mirrors that copy frames from the port, and to the port
	output   bool   // the port is the output of a mirror
}

// mirroringOf works out the part of the port with a name in mirrors.
func mirroringOf(mirrors []MirrorInfo, name string) (m mirroring) {
	for i := range mirrors {
		c := &mirrors[i].Config
		if c.Output == name {
			return mirroring{output: true}
		}
		if c.SelectAll || slices.Contains(c.SelectSrc, name) {
			m.src |= 1 << i
		}
		if c.SelectAll || slices.Contains(c.SelectDst, name) {
			m.dst |= 1 << i
		}
	}
	return m
}

// makeMirrorSet makes what the data plane reads, from the views of all ports.
func makeMirrorSet(mirrors []MirrorInfo, ports []*portView, filters *filterTable) mirrorSet {
	var set mirrorSet
	for i := range mirrors {
		c := &mirrors[i].Config
		m := mirror{
			counters: mirrors[i].Counters, vlans: makeVLANSet(c.SelectVLAN...), filter: filters.find(c.Filter),
			vlan: noVLAN, snaplen: c.Snaplen,
		}
		if c.Output == "" {
			m.vlan = c.OutputVLAN
		}
		m.output = slices.IndexFunc(mirrors, func(o MirrorInfo) bool {
			return o.Config.Output == c.Output && o.Config.OutputVLAN == c.OutputVLAN
		})
		for _, v := range ports {
			switch {
			case !v.up:
			case v.cfg.Name == c.Output, c.Output == "" && !v.mirror.output && v.vlan.carries(c.OutputVLAN):
				m.to = append(m.to, v)
			}
		}
		set = append(set, m)
	}
	return set
}

// refuseMirror returns a function that refuses a key of a mirror.
func (x *transaction) refuseMirror(c *MirrorConfig) func(key string, err error) {
	return func(key string, err error) {
		x.errs = append(x.errs, &ChangeError{Mirror: c.Name, Key: key, Err: err})
	}
}

// checkMirrors checks what MirrorConfig.check has not checked, for ports with these names after the
// change. It returns the mirrors with their counters, which are those of the mirrors in was that
// have the same names.
func (x *transaction) checkMirrors(configs []MirrorConfig, was []MirrorInfo, names map[string]*Attachment) (list []MirrorInfo) {
	outputs := make(map[string]string) // mirrors by output port
	for i := range configs {
		outputs[configs[i].Output] = configs[i].Name
	}
	delete(outputs, "")
	for i := range configs {
		c := configs[i]
		refuse := x.refuseMirror(&c)
		if slices.ContainsFunc(configs[:i], func(o MirrorConfig) bool { return o.Name == c.Name }) {
			refuse("", fmt.Errorf("%w: there is a mirror of this name already", ErrBadMirror))
		}
		if c.Output != "" && names[c.Output] == nil {
			refuse("output", fmt.Errorf("%w: %s", ErrNoPort, c.Output))
		}
		selects := func(key string, ports []string) {
			for _, p := range ports {
				switch {
				case names[p] == nil:
					refuse(key, fmt.Errorf("%w: %s", ErrNoPort, p))
				case outputs[p] != "":
					refuse(key, fmt.Errorf("%w: %s is the output of mirror %s", ErrBadMirror, p, outputs[p]))
				}
			}
		}
		selects("select_src", c.SelectSrc)
		selects("select_dst", c.SelectDst)
		c.SelectSrc, c.SelectDst, c.SelectVLAN = slices.Clone(c.SelectSrc), slices.Clone(c.SelectDst), slices.Clone(c.SelectVLAN)
		info := MirrorInfo{c, new(MirrorCounters)}
		if j := slices.IndexFunc(was, func(o MirrorInfo) bool { return o.Config.Name == c.Name }); j >= 0 {
			info.Counters = was[j].Counters
		}
		list = append(list, info)
	}
	if len(configs) > MaxMirrors {
		x.errs = append(x.errs, &ChangeError{Mirror: configs[MaxMirrors].Name,
			Err: fmt.Errorf("%w: there are %d mirrors, at most %d are possible", ErrBadMirror, len(configs), MaxMirrors)})
	}
	return list
}

// check checks what does not depend on ports.
func (c *MirrorConfig) check(refuse func(key string, err error)) {
	bad := func(key, format string, args ...any) {
		refuse(key, fmt.Errorf("%w: "+format, append([]any{ErrBadMirror}, args...)...))
	}
	if !validName(c.Name) {
		refuse("", fmt.Errorf("%w: %q (1 to 15 letters, digits and . _ -)", ErrBadName, c.Name))
	}
	switch {
	case c.Output == "" && c.OutputVLAN == 0:
		bad("output", "it has neither output nor output_vlan")
	case c.Output != "" && c.OutputVLAN != 0:
		bad("output_vlan", "it has an output as well")
	case c.OutputVLAN >= maxVID:
		refuse("output_vlan", fmt.Errorf("%w: output_vlan %d is not in 1 to %d", ErrBadVLAN, c.OutputVLAN, maxVID-1))
	}
	if !c.SelectAll && len(c.SelectSrc) == 0 && len(c.SelectDst) == 0 {
		bad("select_src", "it selects no frames: select_all, select_src and select_dst are missing")
	}
	for _, v := range c.SelectVLAN {
		if v > maxVID {
			refuse("select_vlan", fmt.Errorf("%w: select_vlan %d is not in 0 to %d", ErrBadVLAN, v, maxVID))
		}
	}
	if c.Output == "" && len(c.SelectVLAN) > 0 && !slices.ContainsFunc(c.SelectVLAN, func(v uint16) bool { return v != c.OutputVLAN }) {
		bad("select_vlan", "it selects no frames: those in output_vlan are not copied")
	}
	if c.Snaplen != 0 && (c.Snaplen < minSnaplen || c.Snaplen > maxSnaplen) {
		bad("snaplen", "snaplen %d is not 0 or in %d to %d", c.Snaplen, minSnaplen, maxSnaplen)
	}
}
