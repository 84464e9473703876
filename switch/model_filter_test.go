package vswitch_test

import (
	"slices"
	"testing"

	vswitch "vswitchd/switch"
)

// The model's filters: the linear ones of filter_model_test.go.

// A modelFilter is a filter with the counters of its rules.
type modelFilter struct {
	*linearFilter
	frames, bytes map[string]int
}

// filter returns the frames that pass a filter of port p.
func (m *model) filter(p *modelPort, name string, frames []modelFrame) (left []modelFrame) {
	for _, f := range frames {
		if why := m.decide(name, f); why != "" {
			p.drops[why]++
			continue
		}
		left = append(left, f)
	}
	return left
}

// decide returns the reason for which a filter drops a frame, or "", and counts the frame at rules.
func (m *model) decide(name string, f modelFrame) string {
	if name == "" {
		return ""
	}
	filter := m.filters[name]
	counted, why := filter.linearFilter.decide(f.fields(m.t))
	for _, rule := range counted {
		filter.frames[rule]++
		filter.bytes[rule] += len(f.raw)
	}
	return why
}

// fields returns what filters know of a frame: its VLAN is the one that it is in.
func (f *modelFrame) fields(t *testing.T) *linearPacket {
	whole, limit := f.says.whole, min(len(f.raw), vswitch.HeadLen)
	if f.tagged {
		whole, limit = slices.Concat(whole[:12], whole[16:]), limit-4
	}
	p := decodeLinear(t, whole, limit)
	p.vlan, p.pcp = int(f.vlan), int(f.pcp>>13)
	return p
}

// changeFilters replaces all filters and sets, or changes one of the sets.
func (m *model) changeFilters(t *testing.T, r modelRand, l *lab) {
	if r.IntN(2) == 0 {
		m.changeSet(t, r, l)
		return
	}
	fr := filterRand{r.Rand}
	sets := fr.sets()
	c := &vswitch.Change{KeepStatic: true, SetFilters: true, Sets: setList(sets)}
	filters := make(map[string]*modelFilter)
	for _, name := range []string{"f", "g"} {
		f := &modelFilter{fr.filterOf(name, sets, r.IntN(12)), make(map[string]int), make(map[string]int)}
		f.Default = vswitch.FilterAccept
		if r.IntN(6) == 0 {
			f.Default = vswitch.FilterDrop
		}
		c.Filters = append(c.Filters, f.FilterConfig)
		if was := m.filters[name]; was != nil {
			for _, rule := range append(f.Rules, vswitch.FilterRule{Name: vswitch.DefaultRule}) {
				f.frames[rule.Name], f.bytes[rule.Name] = was.frames[rule.Name], was.bytes[rule.Name]
			}
		}
		filters[name] = f
	}
	_, err := l.s.Apply(c)
	m.expect(t, err, true, "filters")
	m.filters = filters
	m.applied()
}

// changeSet replaces the entries of a set. That is refused if a rule could never match then; a
// refusal changes nothing.
func (m *model) changeSet(t *testing.T, r modelRand, l *lab) {
	name := []string{"s0", "s1", "s2"}[r.IntN(3)]
	set := filterRand{r.Rand}.sets()[name]
	err := l.s.UpdateSet(name, func(vswitch.SetConfig) (vswitch.SetConfig, error) { return set, nil })
	if err != nil {
		m.refused["set"]++
		return
	}
	for _, f := range m.filters {
		f.sets[name] = set
	}
}

func (m *model) compareFilters(t *testing.T, l *lab) {
	for _, info := range l.s.Filters() {
		f := m.filters[info.Config.Name]
		check := func(name string, c *vswitch.RuleCounters) {
			if int(c.Frames.Load()) != f.frames[name] || int(c.Bytes.Load()) != f.bytes[name] {
				t.Errorf("filter %s, rule %s: %d frames, %d bytes, want %d, %d", f.Name, name,
					c.Frames.Load(), c.Bytes.Load(), f.frames[name], f.bytes[name])
			}
		}
		for i, c := range info.Rules {
			check(info.Config.Rules[i].Name, c)
		}
		check(vswitch.DefaultRule, info.Default)
	}
}
