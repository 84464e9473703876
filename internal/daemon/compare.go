package daemon

import "slices"

// What a reload says about lists of the configuration.

// compareNamed returns a line for each element, which has a name, that is added, changed or
// removed.
func compareNamed[T any](kind string, old, now []T, name func(T) string, equal func(a, b T) bool) (lines []string) {
	find := func(list []T, e T) int {
		return slices.IndexFunc(list, func(o T) bool { return name(o) == name(e) })
	}
	for _, e := range now {
		switch i := find(old, e); {
		case i < 0:
			lines = append(lines, kind+" "+name(e)+" added")
		case !equal(e, old[i]):
			lines = append(lines, kind+" "+name(e)+" changed")
		}
	}
	for _, o := range old {
		if find(now, o) < 0 {
			lines = append(lines, kind+" "+name(o)+" removed")
		}
	}
	return lines
}

// compareValues returns a line for each value that is added or removed, in order of the lines.
func compareValues[T comparable](old, now []T, text func(T) string) (lines []string) {
	for _, e := range now {
		if !slices.Contains(old, e) {
			lines = append(lines, text(e)+" added")
		}
	}
	for _, e := range old {
		if !slices.Contains(now, e) {
			lines = append(lines, text(e)+" removed")
		}
	}
	slices.Sort(lines)
	return lines
}
