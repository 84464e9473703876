package config

import "strings"

// nearest returns which of the known words somebody probably meant, or "" if
// none is near.
func nearest(word string, known []string) string {
	best, bestDist := "", 1+min(2, len(word)/2)
	for _, k := range known {
		if strings.EqualFold(strings.ReplaceAll(word, "-", "_"), k) {
			return k
		}
		if d := distance(word, k); d < bestDist {
			best, bestDist = k, d
		}
	}
	return best
}

// distance returns how many bytes must be inserted, removed or replaced to
// turn a into b.
func distance(a, b string) int {
	if len(a) > 64 { // no key is nearly as long
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}
