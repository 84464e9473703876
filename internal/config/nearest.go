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

// distance returns how many bytes must be inserted, removed or replaced, or
// pairs of neighbours swapped, to turn a into b.
func distance(a, b string) int {
	if len(a) > 64 { // no key is nearly as long
		return len(a)
	}
	// d[i][j] is the distance between the first i bytes of a and the first j of b.
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range b {
		d[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			d[i][j] = min(replaced, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
