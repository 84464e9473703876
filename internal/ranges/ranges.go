// Package ranges writes sets of numbers as ranges, such as those of VLANs: "10-20".
package ranges

import (
	"slices"
	"strconv"
	"strings"
)

// A Range is all numbers from First to Last, which is not less than First.
type Range struct{ First, Last uint16 }

// shortest is the least numbers that Of makes a range of: "5-6" would say less than 5 and 6.
const shortest = 3

// Of returns the ranges and single numbers that a set consists of, in ascending order. The numbers
// may be in any order and may be repeated.
func Of(numbers []uint16) (all []Range) {
	numbers = slices.Clone(numbers)
	slices.Sort(numbers)
	for _, n := range slices.Compact(numbers) {
		if last := len(all) - 1; last >= 0 && int(n) == int(all[last].Last)+1 {
			all[last].Last = n
		} else {
			all = append(all, Range{n, n})
		}
	}
	for i := len(all) - 1; i >= 0; i-- {
		if r := all[i]; r.First < r.Last && r.Last-r.First < shortest-1 {
			all = slices.Replace(all, i, i+1, Range{r.First, r.First}, Range{r.Last, r.Last})
		}
	}
	return all
}

// Parse reads a range of two decimal numbers, the first of which is not greater: "10-20".
func Parse(s string) (r Range, ok bool) {
	first, last, ok := strings.Cut(s, "-")
	a, err := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	return Range{uint16(a), uint16(b)}, ok && err == nil && err2 == nil && a <= b
}

// String is the inverse of Parse; a range of one number is that number.
func (r Range) String() string {
	s := strconv.Itoa(int(r.First))
	if r.First != r.Last {
		s += "-" + strconv.Itoa(int(r.Last))
	}
	return s
}

// Text returns a set in words such as "5,10-20".
func Text(numbers []uint16) string {
	var words []string
	for _, r := range Of(numbers) {
		words = append(words, r.String())
	}
	return strings.Join(words, ",")
}
