package vswitch

import "slices"

// What a port wants of a group, and how records of reports change that: the router state of RFC
// 3376, section 6.4, and RFC 3810, section 7.4, for each port instead of for each network.

// A member is a port that wants the frames of a group, or of all groups because of a router.
type member struct {
	port    *mcastPort
	expires uint32 // last second in which the entry is valid; of exclude: the group timer
	asked   bool   // there is an inquiry about the group

	// exclude is the filter mode. An entry with exclude wants what comes from all sources but the
	// blocked ones; another entry wants what comes from the sources in the list.
	exclude bool
	sources []memberSource
	old     uint32 // until this second, a station that knows no sources is behind the port
}

// A memberSource is a source that a member distinguishes.
type memberSource struct {
	addr    groupAddr
	expires uint32 // of one that is not blocked: last second in which it is wanted
	blocked bool
	asked   bool // there is an inquiry about it
}

// Limits of sources. Where more are reported, the port gets what comes from all sources.
const (
	maxSources         = 32   // of a member
	maxSourcesPerPort  = 1024 // of all memberships of a port
	maxSourcesPerGroup = 1024 // of all members of a group
)

// A transition is what becomes of a member by a record, before it is known whether the change is
// allowed. The memory of the lists is reused.
type transition struct {
	exclude  bool
	expires  uint32
	sources  []memberSource
	overflow bool // more sources than can be recorded

	// Whether somebody else behind the port still wants this has to be found out.
	askGroup bool
	ask      []groupAddr
}

// begin makes t say what e says; nil: nothing is wanted.
func (t *transition) begin(e *member) {
	*t = transition{sources: t.sources[:0], ask: t.ask[:0]}
	if e != nil {
		t.exclude, t.expires = e.exclude, e.expires
		t.sources = append(t.sources, e.sources...)
	}
}

func (t *transition) find(a groupAddr) int {
	return slices.IndexFunc(t.sources, func(s memberSource) bool { return s.addr == a })
}

// want makes a source wanted until a time.
func (t *transition) want(a groupAddr, until uint32) {
	i := t.find(a)
	if i < 0 {
		if len(t.sources) == maxSources {
			t.overflow = true
			return
		}
		i = len(t.sources)
		t.sources = append(t.sources, memberSource{addr: a})
	}
	s := &t.sources[i]
	s.blocked, s.expires = false, until
}

// askWithout asks about the sources that are wanted and not in the record.
func (t *transition) askWithout(r *records) {
	for _, s := range t.sources {
		if !s.blocked && !r.has(s.addr) {
			t.ask = append(t.ask, s.addr)
		}
	}
}

// record applies a record. The letters in comments are those of the RFCs: A are the sources wanted
// in INCLUDE mode; X the sources that are wanted and Y those that are blocked in EXCLUDE mode; B
// those in the record.
func (t *transition) record(r *records, now uint32) {
	until := now + membershipInterval
	switch r.kind {
	case recordToInclude:
		t.askWithout(r) // Q(G, A-B), Q(G, X-B)
		t.askGroup = t.exclude
		fallthrough
	case recordIsInclude, recordAllow:
		for i := range r.sources {
			t.want(r.source(i), until)
		}
	case recordBlock:
		t.block(r)
	case recordIsExclude, recordToExclude:
		t.toExclude(r, until)
	}
	if t.overflow {
		t.exclude, t.expires, t.askGroup = true, until, false
		t.sources, t.ask = t.sources[:0], t.ask[:0]
	}
	if !t.exclude {
		t.expires = now
		for _, s := range t.sources {
			if int32(s.expires-t.expires) > 0 {
				t.expires = s.expires
			}
		}
	}
}

// block applies a record of sources that a station no longer wants.
func (t *transition) block(r *records) {
	for i := range r.sources {
		a := r.source(i)
		at := t.find(a)
		if at < 0 && t.exclude { // X + (B-Y), until the group timer ends
			t.want(a, t.expires)
			at = t.find(a)
		}
		if at >= 0 && !t.sources[at].blocked {
			t.ask = append(t.ask, a) // Q(G, A*B), Q(G, B-Y)
		}
	}
}

// toExclude applies a record of the only sources that a station does not want.
func (t *transition) toExclude(r *records, until uint32) {
	timer := until
	if r.kind == recordToExclude && t.exclude {
		timer = t.expires
	}
	t.sources = slices.DeleteFunc(t.sources, func(s memberSource) bool { return !r.has(s.addr) })
	for i := range r.sources {
		a := r.source(i)
		at := t.find(a)
		switch {
		case at >= 0: // A*B, X*B, Y*B
		case t.exclude: // B-X-Y
			t.want(a, timer)
		default: // B-A
			t.want(a, until)
			at = t.find(a)
			if at >= 0 {
				t.sources[at].blocked = true
			}
		}
		if at = t.find(a); r.kind == recordToExclude && at >= 0 && !t.sources[at].blocked {
			t.ask = append(t.ask, a) // Q(G, A*B), Q(G, B-Y)
		}
	}
	t.exclude, t.expires = true, until
}

// unask ends at once what is to be asked about: fast leave.
func (t *transition) unask() {
	if t.exclude && t.askGroup {
		t.exclude = false
		t.sources = slices.DeleteFunc(t.sources, func(s memberSource) bool { return s.blocked })
	}
	for _, a := range t.ask {
		if i := t.find(a); i >= 0 && t.exclude {
			t.sources[i].blocked = true
		} else if i >= 0 {
			t.sources = slices.Delete(t.sources, i, i+1)
		}
	}
	t.ask, t.askGroup = t.ask[:0], false
}

// empty reports whether nothing is wanted.
func (t *transition) empty() bool { return !t.exclude && len(t.sources) == 0 }

// same reports whether the data plane would notice no difference to e.
func (t *transition) same(e *member) bool {
	return e != nil && t.exclude == e.exclude && slices.EqualFunc(t.sources, e.sources, func(a, b memberSource) bool {
		return a.addr == b.addr && a.blocked == b.blocked
	})
}

// age removes from e what has ended, and reports whether the data plane has to know. If nothing is
// left, e is no longer exclude and has no sources.
func (e *member) age(now uint32) (changed bool) {
	if e.exclude && int32(now-e.expires) > 0 {
		e.exclude, changed = false, true
		e.sources = slices.DeleteFunc(e.sources, func(s memberSource) bool { return s.blocked })
	}
	for i := range e.sources {
		if s := &e.sources[i]; !s.blocked && int32(now-s.expires) > 0 {
			s.blocked, changed = true, true
		}
	}
	if !e.exclude {
		e.sources = slices.DeleteFunc(e.sources, func(s memberSource) bool { return s.blocked })
		e.expires = now
		for _, s := range e.sources {
			if int32(s.expires-e.expires) > 0 {
				e.expires = s.expires
			}
		}
	}
	return changed
}

// gone reports whether e wants nothing.
func (e *member) gone() bool { return !e.exclude && len(e.sources) == 0 }

// endBy makes the membership for all sources end at a time, if it does not end earlier.
func (e *member) endBy(t uint32) {
	if int32(e.expires-t) > 0 {
		e.expires = t
	}
}

// endSourceBy makes a source no longer wanted from a time on, if it is wanted for longer.
func (e *member) endSourceBy(a groupAddr, t uint32) *memberSource {
	i := slices.IndexFunc(e.sources, func(s memberSource) bool { return s.addr == a && !s.blocked })
	if i < 0 {
		return nil
	}
	s := &e.sources[i]
	if int32(s.expires-t) > 0 {
		s.expires = t
	}
	return s
}
