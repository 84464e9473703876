// Package nearest guesses the intended name from a mistyped one: a key of the configuration, a
// command, a flag, a port.
package nearest

import (
	"fmt"
	"strings"
)

// Hint returns "; did you mean "word"?", or "" if none of the known words is near.
func Hint(word string, known []string) string {
	if s := Of(word, known); s != "" {
		return fmt.Sprintf("; did you mean %q?", s)
	}
	return ""
}

// Of returns the known word that was probably meant, or "" if none is near: a word with few
// different letters, or one that begins or ends with the given word.
func Of(word string, known []string) string {
	best, bestDist := "", 1+min(2, len(word)/2)
	for _, k := range known {
		if strings.EqualFold(strings.ReplaceAll(word, "-", "_"), k) {
			return k
		}
		if d := distance(word, k); d < bestDist {
			best, bestDist = k, d
		}
	}
	if best == "" {
		best = longer(word, known)
	}
	return best
}

// longer returns the shortest known word that continues the given word, or ends with it.
func longer(word string, known []string) (best string) {
	if len(word) < 3 {
		return ""
	}
	for _, k := range known {
		if (strings.HasPrefix(k, word+"_") || strings.HasSuffix(k, "_"+word)) && (best == "" || len(k) < len(best)) {
			best = k
		}
	}
	return best
}

// distance returns the number of bytes to insert, remove or replace, or of neighbouring pairs to
// swap, that turns a into b.
func distance(a, b string) int {
	if len(a) > 64 { // all known words are much shorter
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
