package vswitch

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Filters and sets as the control plane changes and shows them.
//
// Locking: Switch.filterMu, which ranks before Switch.mu, is held by whoever changes filters or
// sets, while they are compiled. Switch.mu guards Switch.filters, which is immutable and replaced
// as a whole.

// A filterTable is all filters and sets.
type filterTable struct {
	filters []FilterConfig
	sets    []SetConfig

	compiled map[string]*filter
}

// find returns the filter with a name; nil if there is none, or name is "".
func (t *filterTable) find(name string) *filter { return t.compiled[name] }

// has reports whether the table has the same filter, with the same sets.
func (t *filterTable) has(c *FilterConfig, sets map[string]*SetConfig) bool {
	f := t.find(c.Name)
	if f == nil || !reflect.DeepEqual(&f.config, c) {
		return false
	}
	for i := range t.sets {
		s := &t.sets[i]
		if f.config.RefersTo(s.Name) && !reflect.DeepEqual(s, sets[s.Name]) {
			return false
		}
	}
	return true
}

// RefersTo reports whether a rule of the filter refers to a set.
func (c *FilterConfig) RefersTo(set string) bool {
	return slices.ContainsFunc(c.Rules, func(r FilterRule) bool {
		for _, sets := range [][]string{r.Src.Sets, r.Dst.Sets, r.SrcPorts.Sets, r.DstPorts.Sets} {
			if slices.Contains(sets, set) {
				return true
			}
		}
		return false
	})
}

// compileFilters checks and compiles filters and sets. Filters that are unchanged, with the sets to
// which they refer, are those of was.
func (x *transaction) compileFilters(filters []FilterConfig, sets []SetConfig, was *filterTable) *filterTable {
	t := &filterTable{compiled: make(map[string]*filter)}
	byName, errs := make(map[string]*SetConfig), len(x.errs)
	for i := range sets {
		t.sets = append(t.sets, sets[i].clone())
	}
	for i := range t.sets {
		s := &t.sets[i]
		refuse := func(key string, err error) {
			x.errs = append(x.errs, &ChangeError{Set: s.Name, Key: key, Err: err})
		}
		if byName[s.Name] != nil {
			refuse("", fmt.Errorf("%w: there is a set of this name already", ErrBadSet))
		}
		byName[s.Name] = s
		s.check(refuse)
	}
	for i := range filters {
		c := &filters[i]
		refuse := func(rule int, key string, err error) {
			x.errs = append(x.errs, &ChangeError{Filter: c.Name, Rule: rule, Key: key, Err: err})
		}
		if slices.ContainsFunc(filters[:i], func(o FilterConfig) bool { return o.Name == c.Name }) {
			refuse(-1, "", fmt.Errorf("%w: there is a filter of this name already", ErrBadFilter))
		}
		c.check(byName, refuse)
	}
	if len(x.errs) > errs {
		return nil
	}
	for i := range filters {
		c := &filters[i]
		f, err := was.find(c.Name), error(nil)
		if !was.has(c, byName) {
			f, err = compileFilter(c, byName, f)
		}
		if err != nil {
			x.errs = append(x.errs, &ChangeError{Filter: c.Name, Rule: -1, Key: "rules", Err: err})
			continue
		}
		t.filters = append(t.filters, f.config)
		t.compiled[c.Name] = f
	}
	return t
}

// checkFilterNames refuses ports and mirrors whose filters do not exist after the change. Needs
// Switch.mu.
func (x *transaction) checkFilterNames(names map[string]*Attachment, mirrors []MirrorInfo) {
	t := x.filters
	if t == nil {
		t = x.sw.filters
	}
	for i := range mirrors {
		if c := &mirrors[i].Config; c.Filter != "" && t.find(c.Filter) == nil {
			x.refuseMirror(c)("filter", fmt.Errorf("%w: %s", ErrNoFilter, c.Filter))
		}
	}
	changed := make(map[*Attachment]*PortConfig)
	for _, p := range x.ports {
		changed[p.att] = &p.view.cfg
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		c := changed[names[name]]
		if c == nil {
			c = &names[name].view.cfg
		}
		for _, k := range []struct{ key, filter string }{{"ingress_filter", c.IngressFilter}, {"egress_filter", c.EgressFilter}} {
			if k.filter != "" && t.find(k.filter) == nil {
				x.errs = append(x.errs, &ChangeError{Port: name, Key: k.key, Err: fmt.Errorf("%w: %s", ErrNoFilter, k.filter)})
			}
		}
	}
}

// Filters returns all filters, in the order of the change that made them.
func (s *Switch) Filters() (infos []FilterInfo) {
	s.mu.Lock()
	t := s.filters
	s.mu.Unlock()
	for i := range t.filters {
		f := t.compiled[t.filters[i].Name]
		info := FilterInfo{Config: f.config.clone()}
		last := len(f.rules) - 1
		for j := range f.rules[:last] {
			info.Rules = append(info.Rules, f.rules[j].counters)
		}
		info.Default = f.rules[last].counters
		infos = append(infos, info)
	}
	return infos
}

// Sets returns all sets, in the order of the change that made them.
func (s *Switch) Sets() (sets []SetConfig) {
	s.mu.Lock()
	t := s.filters
	s.mu.Unlock()
	for i := range t.sets {
		sets = append(sets, t.sets[i].clone())
	}
	return sets
}

// UpdateSet changes the entries of a set: edit is given the set, and returns what it is to be. The
// error is that of edit, or wraps ErrNoSet if there is no set of that name, or says why the filters
// that refer to the set cannot be made; then nothing is changed. When UpdateSet returns, all frames
// are filtered by the new set.
//
// UpdateSet waits as Apply does, and must not be called where Apply must not. edit must not call
// methods of the switch.
func (s *Switch) UpdateSet(name string, edit func(SetConfig) (SetConfig, error)) error {
	s.filterMu.Lock()
	defer s.filterMu.Unlock()
	was := s.filters // only changed under filterMu
	sets := slices.Clone(was.sets)
	i := slices.IndexFunc(sets, func(c SetConfig) bool { return c.Name == name })
	if i < 0 {
		return fmt.Errorf("%w: %s", ErrNoSet, name)
	}
	set, err := edit(sets[i].clone())
	if err != nil {
		return err
	}
	set.Name = name
	sets[i] = set
	x := &transaction{sw: s}
	t := x.compileFilters(was.filters, sets, was)
	if err := x.err(); err != nil {
		return err
	}
	s.mu.Lock()
	s.filters = t
	s.publish()
	s.mu.Unlock()
	s.synchronize()
	return nil
}
