package main

import (
	"fmt"
	"strconv"
	"strings"

	"vswitchd/internal/layout"
)

// count formats a number with its digits in groups of three.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// shortCount returns a number that count has formatted in at most five characters, if it is large:
// 12,345,678 is 12.3M.
func shortCount(s string) string {
	n, err := strconv.ParseUint(strings.ReplaceAll(s, ",", ""), 10, 64)
	if err != nil || n < 100_000 {
		return s
	}
	return layout.Rounded(float64(n))
}

func frames(n uint64) string {
	if n == 1 {
		return "1 frame"
	}
	return count(n) + " frames"
}

func traffic(n, bytes uint64) string { return frames(n) + ", " + size(bytes) }

// size formats a number of bytes in the largest binary unit that leaves at least 1.
func size(n uint64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/(1<<10), "KiB"
	for _, u := range []string{"MiB", "GiB", "TiB", "PiB", "EiB"} {
		if v < 1<<10 {
			break
		}
		v, unit = v/(1<<10), u
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + unit
}

// parseSize parses a number of bytes, with an optional KiB, MiB or GiB.
func parseSize(s string) (int, error) {
	digits, shift := s, 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			digits, shift = rest, 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n<<shift > 1<<40 {
		return 0, fmt.Errorf("%q is no size such as 65536, 512KiB or 16MiB", s)
	}
	return int(n << shift), nil
}

func unlessZero(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
