package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

func filterConfigs(filters []*config.Filter) (list []vswitch.FilterConfig) {
	for _, f := range filters {
		list = append(list, f.FilterConfig)
	}
	return list
}

func setConfigs(sets []*config.Set) (list []vswitch.SetConfig) {
	for _, s := range sets {
		list = append(list, s.SetConfig)
	}
	return list
}

// mergeSets returns the sets of a new configuration, with the entries that were added to the
// running sets by hand: those that are not in the old configuration. An added entry that overlaps
// one of the new configuration is left out. Entries that were removed by hand are there again,
// unless keep is true.
func mergeSets(old, now []*config.Set, running []vswitch.SetConfig, keep bool) []vswitch.SetConfig {
	was := make(map[string]*vswitch.SetConfig)
	for _, s := range old {
		was[s.Name] = &s.SetConfig
	}
	merged := setConfigs(now)
	for i := range merged {
		s := &merged[i]
		j := slices.IndexFunc(running, func(r vswitch.SetConfig) bool { return r.Name == s.Name })
		if j < 0 || was[s.Name] == nil {
			continue
		}
		if keep {
			s.Addresses = withoutRemoved(s.Addresses, was[s.Name].Addresses, running[j].Addresses)
			s.Ports = withoutRemoved(s.Ports, was[s.Name].Ports, running[j].Ports)
		}
		s.Addresses = withAdded(s.Addresses, was[s.Name].Addresses, running[j].Addresses, netip.Prefix.Overlaps)
		s.Ports = withAdded(s.Ports, was[s.Name].Ports, running[j].Ports, vswitch.Range.Overlaps)
	}
	return merged
}

// withAdded returns list with the elements of running that are not in was and overlap none in list.
func withAdded[T comparable](list, was, running []T, overlap func(a, b T) bool) []T {
	list = slices.Clone(list)
	for _, e := range running {
		if !slices.Contains(was, e) && !slices.ContainsFunc(list, func(o T) bool { return overlap(o, e) }) {
			list = append(list, e)
		}
	}
	return list
}

// withoutRemoved returns list without the elements of was that are not running.
func withoutRemoved[T comparable](list, was, running []T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(e T) bool { return slices.Contains(was, e) && !slices.Contains(running, e) })
}

// compareFilters returns a line for each filter that is to change.
func compareFilters(old, now []*config.Filter) []string {
	return compareNamed("filter", old, now, func(f *config.Filter) string { return f.Name }, (*config.Filter).Equal)
}

// compareSets returns a line for each of the running sets that is to change.
func compareSets(running, now []vswitch.SetConfig) []string {
	return compareNamed("set", running, now, func(s vswitch.SetConfig) string { return s.Name }, func(a, b vswitch.SetConfig) bool {
		return slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.Ports, b.Ports)
	})
}

// Filters implements control.Backend.
func (b backend) Filters() (infos []control.Filter) {
	ports, mirrors := b.d.sw.Ports(), b.d.sw.Mirrors()
	for _, f := range b.d.sw.Filters() {
		info := control.Filter{
			Name:    f.Config.Name,
			Default: control.FilterRule{Name: vswitch.DefaultRule, Action: string(f.Config.Default), Frames: f.Default.Frames.Load(), Bytes: f.Default.Bytes.Load()},
		}
		for _, p := range ports {
			if p.Config.IngressFilter == info.Name {
				info.Ingress = append(info.Ingress, p.Config.Name)
			}
			if p.Config.EgressFilter == info.Name {
				info.Egress = append(info.Egress, p.Config.Name)
			}
		}
		for i := range mirrors {
			if mirrors[i].Config.Filter == info.Name {
				info.Mirrors = append(info.Mirrors, mirrors[i].Config.Name)
			}
		}
		for i, c := range f.Rules {
			r := &f.Config.Rules[i]
			info.Rules = append(info.Rules, control.FilterRule{
				Name: r.Name, Action: string(r.Action), Match: matchOf(r), Frames: c.Frames.Load(), Bytes: c.Bytes.Load(),
			})
		}
		infos = append(infos, info)
	}
	return infos
}

// matchOf returns the keys that a rule sets, besides its name and action.
func matchOf(r *vswitch.FilterRule) (match control.Settings) {
	for _, k := range key.Differing(config.RuleKeys(r), config.RuleKeys(&vswitch.FilterRule{Name: r.Name, Action: r.Action})) {
		match = append(match, control.Setting{Key: k.Name, Value: k.Get()})
	}
	return match
}

// Sets implements control.Backend.
func (b backend) Sets() (infos []control.Set) {
	filters := b.d.sw.Filters()
	for _, s := range b.d.sw.Sets() {
		infos = append(infos, setInfo(&s, filters))
	}
	return infos
}

func setInfo(s *vswitch.SetConfig, filters []vswitch.FilterInfo) control.Set {
	info := control.Set{Name: s.Name}
	for _, p := range s.Addresses {
		info.Addresses = append(info.Addresses, key.ShowNetwork(p))
	}
	for _, r := range s.Ports {
		info.Ports = append(info.Ports, control.PortRange(r.String()))
	}
	for i := range filters {
		if filters[i].Config.RefersTo(s.Name) {
			info.Filters = append(info.Filters, filters[i].Config.Name)
		}
	}
	return info
}

// ChangeSet implements control.Backend.
func (b backend) ChangeSet(name string, change control.SetChange) (info control.Set, err error) {
	var entries [3]vswitch.SetConfig // to be there instead, added and removed
	for i, e := range []*control.SetEntries{change.Replace, change.Add, change.Del} {
		if e != nil {
			if entries[i], err = setEntries(e); err != nil {
				return info, err
			}
		}
	}
	b.d.committing.Lock() // a reload must not miss the change
	defer b.d.committing.Unlock()
	err = b.d.sw.UpdateSet(name, func(s vswitch.SetConfig) (vswitch.SetConfig, error) {
		if change.Replace != nil {
			s = entries[0]
		}
		var missing error
		s.Addresses, missing = without(s.Addresses, entries[2].Addresses)
		if missing == nil {
			s.Ports, missing = without(s.Ports, entries[2].Ports)
		}
		s.Addresses, s.Ports = append(s.Addresses, entries[1].Addresses...), append(s.Ports, entries[1].Ports...)
		return s, missing
	})
	switch {
	case errors.Is(err, vswitch.ErrNoSet):
		return info, control.ErrNoSet
	case err != nil:
		return info, err
	}
	for _, s := range b.Sets() {
		if s.Name == name {
			return s, nil
		}
	}
	return info, control.ErrNoSet // a reload has removed it meanwhile
}

// without returns a list without some elements, all of which have to be in it.
func without[T comparable](list, gone []T) ([]T, error) {
	for _, e := range gone {
		i := slices.Index(list, e)
		if i < 0 {
			return nil, fmt.Errorf("%v is not in the set", e)
		}
		list = slices.Delete(list, i, i+1)
	}
	return list, nil
}

// setEntries reads the entries of a request as those of the file.
func setEntries(e *control.SetEntries) (vswitch.SetConfig, error) {
	var s config.Set
	var addresses, ports []any
	for _, a := range e.Addresses {
		addresses = append(addresses, a)
	}
	for _, p := range e.Ports {
		ports = append(ports, string(p))
	}
	for name, list := range map[string][]any{"addresses": addresses, "ports": ports} {
		if err := key.Find(s.Keys(), name).Set(append([]any{}, list...)); err != nil {
			return s.SetConfig, fmt.Errorf("%w: %s: %w", control.ErrMalformed, name, err)
		}
	}
	return s.SetConfig, nil
}
