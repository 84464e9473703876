package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vswitchd/internal/nearest"
)

// The functions here make the setters of keys: each checks a TOML value (a
// string, int64, float64, bool, time.Time, array or table) and stores it. What
// is wrong is not stored.

func text(dst *string) func(any) error {
	return func(v any) error {
		s, err := asString(v)
		if err == nil {
			*dst = s
		}
		return err
	}
}

// orEmpty lets "" through, which sets dst to its zero value, and leaves all
// else to set.
func orEmpty[T any](dst *T, set func(any) error) func(any) error {
	return func(v any) error {
		if v == "" {
			var zero T
			*dst = zero
			return nil
		}
		return set(v)
	}
}

func boolean(dst *bool) func(any) error {
	return func(v any) error {
		b, ok := v.(bool)
		if !ok {
			return fmt.Errorf("is %s, must be true or false", kindOf(v))
		}
		*dst = b
		return nil
	}
}

func integer[T int | uint16](dst *T, lo, hi int64) func(any) error {
	return func(v any) error {
		n, ok := v.(int64)
		if !ok {
			return fmt.Errorf("is %s, must be an integer", kindOf(v))
		}
		if n < lo || n > hi {
			return fmt.Errorf("is %d, must be from %d to %d", n, lo, hi)
		}
		*dst = T(n)
		return nil
	}
}

func integers[T int | uint16](dst *[]T, lo, hi int64) func(any) error {
	return func(v any) error {
		list, err := asArray(v)
		if err != nil {
			return err
		}
		ns := make([]T, len(list))
		for i, e := range list {
			if err := integer(&ns[i], lo, hi)(e); err != nil {
				return fmt.Errorf("element %d %w", i, err)
			}
		}
		*dst = ns
		return nil
	}
}

func vlan(dst *uint16) func(any) error { return integer(dst, 0, 4095) }

// vlans reads a list of VLANs and puts it into order.
func vlans(dst *[]uint16) func(any) error {
	set := integers(dst, 0, 4095)
	return func(v any) error {
		if err := set(v); err != nil {
			return err
		}
		slices.Sort(*dst)
		*dst = slices.Compact(*dst)
		return nil
	}
}

func vlanMode(dst *VLANMode) func(any) error {
	set := oneOf(dst, "", VLANAccess, VLANTrunk, VLANNativeTagged, VLANNativeUntagged)
	return func(v any) error {
		if slices.Contains(unsupportedVLANModes, v) {
			return fmt.Errorf("%q is not supported by this version", v)
		}
		return set(v)
	}
}

func oneOf[T ~string](dst *T, allowed ...T) func(any) error {
	return func(v any) error {
		s, err := asString(v)
		if err != nil {
			return err
		}
		if !slices.Contains(allowed, T(s)) {
			var names, bare []string
			for _, a := range allowed {
				if a != "" {
					bare = append(bare, string(a))
					names = append(names, strconv.Quote(string(a)))
				}
			}
			return fmt.Errorf("is %q, must be one of %s%s", s, strings.Join(names, ", "), nearest.Hint(s, bare))
		}
		*dst = T(s)
		return nil
	}
}

func duration(dst *time.Duration, lo, hi time.Duration) func(any) error {
	return func(v any) error {
		s, err := asString(v)
		if err != nil {
			return fmt.Errorf(`%w such as "300s"`, err)
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf(`is %q, must be a duration such as "300s" or "5m"`, s)
		}
		if d < lo || d > hi {
			return fmt.Errorf("is %v, must be from %v to %v", d, lo, hi)
		}
		*dst = d
		return nil
	}
}

func poll(dst *Poll) func(any) error {
	return func(v any) error {
		if v == "always" {
			*dst = Poll{Always: true}
			return nil
		}
		var p Poll
		if err := duration(&p.For, 0, time.Second)(v); err != nil {
			return fmt.Errorf(`%w, or "always"`, err)
		}
		*dst = p
		return nil
	}
}

// mac reads the address of one station: neither multicast nor zero.
func mac(dst *net.HardwareAddr) func(any) error {
	return func(v any) error {
		s, err := asString(v)
		if err != nil {
			return err
		}
		m, err := net.ParseMAC(s)
		switch {
		case err != nil || len(m) != 6:
			return fmt.Errorf("is %q, must be a MAC address such as 52:54:00:12:34:56", s)
		case m[0]&1 != 0:
			return fmt.Errorf("%s is a multicast address, must be that of one station", m)
		case slices.Equal(m, make(net.HardwareAddr, 6)):
			return fmt.Errorf("%s is no address of a station", m)
		}
		*dst = m
		return nil
	}
}

// offloads reads a list of offloads and puts it into order.
func offloads(dst *[]Offload) func(any) error {
	return func(v any) error {
		list, err := asArray(v)
		if err != nil {
			return err
		}
		named := make([]Offload, len(list))
		for i, e := range list {
			if err := oneOf(&named[i], allOffloads...)(e); err != nil {
				return fmt.Errorf("element %d %w", i, err)
			}
		}
		ordered := []Offload{}
		for _, o := range allOffloads {
			if slices.Contains(named, o) {
				ordered = append(ordered, o)
			}
		}
		if len(ordered) > 0 && ordered[0] != OffloadCsum {
			return fmt.Errorf("has %q without %q, which it needs", ordered[0], OffloadCsum)
		}
		*dst = ordered
		return nil
	}
}

func socketPath(dst *string) func(any) error {
	return func(v any) error {
		s, err := asString(v)
		if err != nil {
			return err
		}
		if err := checkSocketPath(s); err != nil {
			return err
		}
		*dst = filepath.Clean(s)
		return nil
	}
}

func checkSocketPath(s string) error {
	switch {
	case s == "":
		return errors.New("must not be empty")
	case len(s) > MaxSocketPath:
		return fmt.Errorf("the path of the socket is %d bytes long, at most %d are possible", len(s), MaxSocketPath)
	case strings.ContainsRune(s, 0):
		return errors.New("the path of the socket contains a NUL byte")
	case strings.HasSuffix(s, "/"):
		return fmt.Errorf("%q is a directory, must be the path of a socket", s)
	}
	return nil
}

func socketDir(dst *string) func(any) error {
	return func(v any) error {
		s, err := asString(v)
		if err != nil {
			return err
		}
		if s == "" || strings.ContainsRune(s, 0) {
			return fmt.Errorf("is %q, must be a directory", s)
		}
		*dst = filepath.Clean(s)
		return nil
	}
}

// maxName is the longest name of a port and of an interface, in bytes: the
// kernel's IFNAMSIZ without the final NUL.
const maxName = 15

var portName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func checkPortName(s string) error {
	switch {
	case s == "":
		return errors.New("the name is empty")
	case len(s) > maxName:
		return fmt.Errorf("the name is %d characters long, at most %d are possible", len(s), maxName)
	case !portName.MatchString(s):
		return fmt.Errorf("the name %q must consist of letters, digits and . _ -", s)
	case s == "." || s == "..":
		return fmt.Errorf("%q is no name", s)
	}
	return nil
}

func interfaceName(dst *string) func(any) error {
	return func(v any) error {
		s, err := asString(v)
		if err != nil {
			return err
		}
		// As dev_valid_name of Linux.
		if s == "" || len(s) > maxName || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\n\v\f\r\x00") {
			return fmt.Errorf("%q is no name of a network interface", s)
		}
		*dst = s
		return nil
	}
}

// hostPort reads an address to listen on; without a host, it is all of this
// machine's.
func hostPort(dst *string) func(any) error {
	return func(v any) error {
		s, err := asString(v)
		if err != nil {
			return err
		}
		_, port, err := net.SplitHostPort(s)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			return fmt.Errorf("is %q, must be an address and a port such as 127.0.0.1:9747", s)
		}
		*dst = s
		return nil
	}
}

// fileMode reads octal digits in a string. An integer would be ambiguous:
// people write 660 and mean 0o660.
func fileMode(dst *fs.FileMode) func(any) error {
	return func(v any) error {
		s, ok := v.(string)
		n, err := strconv.ParseUint(s, 8, 32)
		if !ok || err != nil || n > 0o777 {
			return fmt.Errorf(`is %s, must be octal digits in quotes such as "0660"`, show(v))
		}
		*dst = fs.FileMode(n)
		return nil
	}
}

// owner reads the name or number of a user; "" means that of the process.
func owner(dst *int) func(any) error {
	return account(dst, "user", func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
}

// group reads the name or number of a group; "" means that of the process.
func group(dst *int) func(any) error {
	return account(dst, "group", func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
}

func account(dst *int, what string, lookup func(string) (string, error)) func(any) error {
	return func(v any) error {
		s, err := asString(v)
		if err != nil {
			return err
		}
		if s == "" {
			*dst = -1
			return nil
		}
		id := s
		if strings.Trim(s, "0123456789") != "" {
			if id, err = lookup(s); err != nil {
				return fmt.Errorf("there is no %s %q", what, s)
			}
		}
		n, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			return fmt.Errorf("there is no %s %q", what, s)
		}
		*dst = int(n)
		return nil
	}
}

// parseRate reads bits per second, with a suffix K, M or G.
func parseRate(s string) (uint64, error) {
	n, err := parseScaled(s, []unit{{"K", 1e3}, {"M", 1e6}, {"G", 1e9}})
	if err != nil {
		return 0, fmt.Errorf(`is %q, must be bits per second such as "500M" or "1G"`, s)
	}
	return n, nil
}

// size reads bytes in a string.
func size(dst *uint64, lo, hi uint64) func(any) error {
	return func(v any) error {
		s, err := asString(v)
		if err != nil {
			return fmt.Errorf(`%w such as "512MiB" or "1TiB"`, err)
		}
		n, err := parseSize(s)
		if err != nil {
			return err
		}
		if n < lo || n > hi {
			return fmt.Errorf("is %q, must be from %s to %s", s, showSize(lo), showSize(hi))
		}
		*dst = n
		return nil
	}
}

// showSize writes a number of bytes as parseSize reads it.
func showSize(n uint64) string {
	for _, u := range slices.Backward(sizeUnits) {
		if n >= u.factor && n%u.factor == 0 {
			return fmt.Sprintf("%d%s", n/u.factor, u.suffix)
		}
	}
	return strconv.FormatUint(n, 10)
}

var sizeUnits = []unit{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}}

// parseSize reads bytes, with a suffix KiB, MiB, GiB or TiB.
func parseSize(s string) (uint64, error) {
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

func asString(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("is %s, must be a string", kindOf(v))
	}
	return s, nil
}

func asArray(v any) ([]any, error) {
	switch list := v.(type) {
	case []any:
		return list, nil
	case []map[string]any:
		return nil, errors.New("is an array of tables, must be an array")
	}
	return nil, fmt.Errorf("is %s, must be an array", kindOf(v))
}

// kindOf names the TOML type of a value.
func kindOf(v any) string {
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

// show returns a string in quotes, and of anything else what it is.
func show(v any) string {
	if s, ok := v.(string); ok {
		return strconv.Quote(s)
	}
	return kindOf(v)
}

// mtu accepts 0 and the MTUs that a guest can be told: "The device MUST set mtu to
// between 68 and 65535 inclusive" (virtio 1.2, section 5.1.4.1).
func mtu(to *int) func(any) error {
	return func(v any) error {
		var n int
		if err := integer(&n, 0, 65535)(v); err != nil {
			return err
		}
		if n > 0 && n < 68 {
			return fmt.Errorf("is %d, must be 0 or from 68 to 65535", n)
		}
		*to = n
		return nil
	}
}
