package tomldoc

import "strconv"

// Diff returns the patch that turns a into b.
func Diff(a, b *Table) Patch { return diffTables(nil, nil, withoutEmpty(a), withoutEmpty(b)) }

func diffTables(p Patch, at Path, a, b *Table) Patch {
	for _, e := range a.Entries {
		if b.index(e.Key) < 0 {
			p = append(p, Edit{Op: "remove", Path: at.to(e.Key)})
		}
	}
	for _, e := range b.Entries {
		i := a.index(e.Key)
		if i < 0 {
			p = append(p, Edit{Op: "add", Path: at.to(e.Key), Value: e.Value})
			continue
		}
		p = diffValues(p, at.to(e.Key), a.Entries[i].Value, e.Value)
	}
	return p
}

// to returns the path of what is at a key or an index.
func (p Path) to(part string) Path { return append(p[:len(p):len(p)], part) }

func diffValues(p Patch, at Path, a, b any) Patch {
	if ta, ok := a.(*Table); ok {
		if tb, ok := b.(*Table); ok {
			return diffTables(p, at, ta, tb)
		}
	}
	if la, ok := a.([]any); ok {
		if lb, ok := b.([]any); ok && len(la) > 0 && len(lb) > 0 {
			return diffLists(p, at, la, lb)
		}
	}
	if !equal(a, b) {
		p = append(p, Edit{Op: "replace", Path: at, Value: b})
	}
	return p
}

// diffLists keeps a longest common subsequence of the elements. Between two elements that are kept,
// it changes elements, and removes or adds the rest.
func diffLists(p Patch, at Path, a, b []any) Patch {
	place := 0
	change := func(a, b []any) {
		for i := range max(len(a), len(b)) {
			here := at.to(strconv.Itoa(place))
			switch {
			case i >= len(b):
				p = append(p, Edit{Op: "remove", Path: here})
				continue
			case i >= len(a):
				p = append(p, Edit{Op: "add", Path: here, Value: b[i]})
			default:
				p = diffValues(p, here, a[i], b[i])
			}
			place++
		}
	}
	i, j := 0, 0
	for _, m := range common(a, b) {
		change(a[i:m[0]], b[j:m[1]])
		i, j = m[0]+1, m[1]+1
		place++
	}
	change(a[i:], b[j:])
	return p
}

// maxCompared limits the comparisons of elements of two arrays. Elements of longer arrays are
// compared with those at the same place, after those that the arrays begin and end with.
const maxCompared = 1 << 20

// common returns the indices of a common subsequence of two lists.
func common(a, b []any) (pairs [][2]int) {
	first := 0
	for first < min(len(a), len(b)) && equal(a[first], b[first]) {
		pairs = append(pairs, [2]int{first, first})
		first++
	}
	last := 0
	for last < min(len(a), len(b))-first && equal(a[len(a)-1-last], b[len(b)-1-last]) {
		last++
	}
	if n, m := len(a)-first-last, len(b)-first-last; n*m <= maxCompared {
		pairs = append(pairs, longest(a[first:first+n], b[first:first+m], first)...)
	}
	for i := last; i > 0; i-- {
		pairs = append(pairs, [2]int{len(a) - i, len(b) - i})
	}
	return pairs
}

// longest returns the indices, plus an offset, of a longest common subsequence.
func longest(a, b []any, offset int) (pairs [][2]int) {
	n, m := len(a), len(b)
	length := make([][]int, n+1) // of a[i:] and b[j:]
	for i := range length {
		length[i] = make([]int, m+1)
	}
	same := make([]bool, n*m)
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			if same[i*m+j] = equal(a[i], b[j]); same[i*m+j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < n && j < m; {
		switch {
		case same[i*m+j]:
			pairs = append(pairs, [2]int{offset + i, offset + j})
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return pairs
}
