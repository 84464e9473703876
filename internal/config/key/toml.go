package key

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// String returns a value as a string, or an error if the value has another type.
func String(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("is %s, must be a string", KindOf(v))
	}
	return s, nil
}

// Boolean returns a value as a bool, or an error if the value has another type.
func Boolean(v any) (bool, error) {
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("is %s, must be true or false", KindOf(v))
	}
	return b, nil
}

// Array returns a value as an array, or an error if the value has another type.
func Array(v any) ([]any, error) {
	switch list := v.(type) {
	case []any:
		return list, nil
	case []map[string]any:
		return nil, errors.New("is an array of tables, must be an array")
	}
	return nil, fmt.Errorf("is %s, must be an array", KindOf(v))
}

// KindOf names the TOML type of a value.
func KindOf(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date"
	case []any, []map[string]any:
		return "an array"
	}
	return "a table"
}

// show returns a string in quotes, and the type of any other value.
func show(v any) string {
	if s, ok := v.(string); ok {
		return strconv.Quote(s)
	}
	return KindOf(v)
}

// ParseRate parses a rate in bits per second, with an optional decimal suffix K, M or G.
func ParseRate(s string) (uint64, error) {
	n, err := parseScaled(s, rateUnits)
	if err != nil {
		return 0, fmt.Errorf(`is %q, must be bits per second such as "500M" or "1G"`, s)
	}
	return n, nil
}

var rateUnits = []unit{{"K", 1e3}, {"M", 1e6}, {"G", 1e9}}

// showRate formats a number of bits per second for ParseRate.
func showRate(n uint64) string { return showScaled(n, rateUnits) }

// showSize formats a number of bytes for ParseSize.
func showSize(n uint64) string { return showScaled(n, sizeUnits) }

func showScaled(n uint64, units []unit) string {
	for _, u := range slices.Backward(units) {
		if n >= u.factor && n%u.factor == 0 {
			return fmt.Sprintf("%d%s", n/u.factor, u.suffix)
		}
	}
	return strconv.FormatUint(n, 10)
}

var sizeUnits = []unit{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}}

// ParseSize parses a size in bytes, with an optional suffix KiB, MiB, GiB or TiB.
func ParseSize(s string) (uint64, error) {
	n, err := parseScaled(s, sizeUnits)
	if err != nil {
		return 0, fmt.Errorf(`is %q, must be bytes such as "1500" or "64KiB"`, s)
	}
	return n, nil
}

type unit struct {
	suffix string
	factor uint64
}

func parseScaled(s string, units []unit) (uint64, error) {
	factor := uint64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			s, factor = rest, u.factor
			break
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err == nil && n > (1<<64-1)/factor {
		err = strconv.ErrRange
	}
	return n * factor, err
}
