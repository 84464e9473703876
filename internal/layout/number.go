package layout

import "strconv"

// Rounded returns a number that is not negative in at most five characters: with three digits, and
// a unit if the number is 1000 or more.
func Rounded(v float64) string {
	unit := ""
	for _, u := range []string{"k", "M", "G", "T", "P", "E", "Z"} {
		if v < 999.5 {
			break
		}
		v, unit = v/1000, u
	}
	digits := 0
	if unit != "" || v != float64(int64(v)) {
		digits = 2 - min(2, magnitude(v))
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + unit
}

// magnitude returns the number of digits before the point, without the first, of a number that is
// rounded to three digits.
func magnitude(v float64) int {
	switch {
	case v >= 99.95:
		return 2
	case v >= 9.995:
		return 1
	}
	return 0
}
