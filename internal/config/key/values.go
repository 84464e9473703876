package key

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"vswitchd/internal/nearest"
	"vswitchd/internal/ranges"
)

// The functions in this file make the Values of keys. dst is the field that stores the value.

// Text is any text.
func Text(dst *string) Value { return Make("string", dst, String, asAny) }

// Texts is a list of texts.
func Texts(dst *[]string) Value {
	return Make("list of strings", dst, func(v any) ([]string, error) { return elements(v, String) }, func(texts []string) any { return append([]string{}, texts...) })
}

// Printable is a text of at most longest printable characters.
func Printable(dst *string, longest int) Value {
	return Make(fmt.Sprintf("string, at most %d printable characters", longest), dst, func(v any) (string, error) {
		s, err := String(v)
		if err != nil {
			return "", err
		}
		if n := utf8.RuneCountInString(s); n > longest {
			return "", fmt.Errorf("has %d characters, at most %d are possible", n, longest)
		}
		if i := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			return "", fmt.Errorf("contains %q, must consist of printable characters", []rune(s[i:])[0])
		}
		return s, nil
	}, asAny)
}

// Bool is true or false.
func Bool(dst *bool) Value {
	return Make("boolean", dst, Boolean, func(b bool) any { return b })
}

// Int is an integer from lo to hi.
func Int[T int | uint16](dst *T, lo, hi int64) Value {
	return Make(fmt.Sprintf("integer, %d to %d", lo, hi), dst, integer[T](lo, hi), number)
}

// IntOrZero is 0 or an integer from lo to hi.
func IntOrZero(dst *int, lo, hi int64) Value {
	read := integer[int](0, hi)
	return Make(fmt.Sprintf("integer, 0 or %d to %d", lo, hi), dst, func(v any) (int, error) {
		n, err := read(v)
		if err == nil && n > 0 && int64(n) < lo {
			err = fmt.Errorf("is %d, must be 0 or from %d to %d", n, lo, hi)
		}
		return n, err
	}, number)
}

// Ints is a list of integers from lo to hi.
func Ints[T int | uint16](dst *[]T, lo, hi int64) Value {
	return Make(fmt.Sprintf("list of integers, %d to %d", lo, hi), dst, integers[T](lo, hi), numbers)
}

// Ranges is a set of integers from lo to hi, each written as a number or within a range such as
// "10-20". The set is stored sorted and without duplicates.
func Ranges(dst *[]uint16, lo, hi int64) Value {
	read := integer[uint16](lo, hi)
	return Make(fmt.Sprintf(`list of integers, %d to %d, and ranges such as "10-20"`, lo, hi), dst, func(v any) (set []uint16, err error) {
		list, err := Array(v)
		if err != nil {
			return nil, err
		}
		for i, e := range list {
			ns, err := rangeOf(e, read)
			if err != nil {
				return nil, fmt.Errorf("element %d %w", i, err)
			}
			set = append(set, ns...)
		}
		slices.Sort(set)
		return slices.Compact(set), nil
	}, showRanges)
}

// rangeOf returns the integers that an element of Ranges stands for. read checks one of them.
func rangeOf(v any, read func(any) (uint16, error)) (ns []uint16, err error) {
	s, isText := v.(string)
	if !isText {
		if _, isNumber := v.(int64); !isNumber {
			return nil, fmt.Errorf(`is %s, must be an integer or a range such as "10-20"`, KindOf(v))
		}
		n, err := read(v)
		return []uint16{n}, err
	}
	r, ok := ranges.Parse(s)
	if !ok {
		return nil, fmt.Errorf(`is %q, must be an integer or a range such as "10-20"`, s)
	}
	for n := int64(r.First); n <= int64(r.Last); n++ {
		m, err := read(n)
		if err != nil {
			return nil, fmt.Errorf("is %q, which has an element that %w", s, err)
		}
		ns = append(ns, m)
	}
	return ns, nil
}

// showRanges returns a set as in the file: numbers and ranges.
func showRanges(set []uint16) any {
	all := make([]any, 0, len(set))
	for _, r := range ranges.Of(set) {
		if r.First == r.Last {
			all = append(all, int64(r.First))
		} else {
			all = append(all, r.String())
		}
	}
	return all
}

// OneOf is one of several words.
func OneOf[T ~string](dst *T, words ...T) Value {
	return Make(Words(words), dst, func(v any) (T, error) { return Word(v, words...) }, func(t T) any { return string(t) })
}

// Duration is a duration from lo to hi.
func Duration(dst *time.Duration, lo, hi time.Duration) Value {
	return Make(fmt.Sprintf("string, a duration from %s to %s", ShowDuration(lo), ShowDuration(hi)), dst,
		func(v any) (time.Duration, error) { return ReadDuration(v, lo, hi) },
		func(d time.Duration) any { return ShowDuration(d) })
}

// MAC is the address of one station: neither multicast nor zero.
func MAC[M ~[6]byte](dst *M) Value {
	return Make("string, a MAC address", dst, station[M], func(m M) any { return hardware(m) })
}

// OptionalMAC is a list of at most one address as MAC. The empty list is written as "".
func OptionalMAC[M ~[6]byte](dst *[]M) Value {
	return Make(`string, a MAC address or ""`, dst, func(v any) ([]M, error) {
		if v == "" {
			return nil, nil
		}
		m, err := station[M](v)
		return []M{m}, err
	}, func(ms []M) any {
		if len(ms) == 0 {
			return ""
		}
		return hardware(ms[0])
	})
}

// MACs is a list of addresses as MAC, stored sorted and without duplicates.
func MACs[M ~[6]byte](dst *[]M) Value {
	return Make("list of strings, MAC addresses", dst, func(v any) ([]M, error) {
		ms, err := elements(v, station[M])
		slices.SortFunc(ms, func(a, b M) int { return strings.Compare(hardware(a), hardware(b)) })
		return slices.Compact(ms), err
	}, func(ms []M) any {
		all := make([]string, len(ms))
		for i, m := range ms {
			all[i] = hardware(m)
		}
		return all
	})
}

// IP is an IP address, which check, if it is not nil, has to accept. The zero value is written as
// "".
func IP(dst *netip.Addr, check func(netip.Addr) error) Value {
	return Make("string, an IP address", dst, func(v any) (netip.Addr, error) { return readIP(v, check) }, showIP)
}

// OptionalIP is an address as IP, or "".
func OptionalIP(dst *netip.Addr, check func(netip.Addr) error) Value {
	return Make(`string, an IP address or ""`, dst, func(v any) (netip.Addr, error) {
		if v == "" {
			return netip.Addr{}, nil
		}
		return readIP(v, check)
	}, showIP)
}

func readIP(v any, check func(netip.Addr) error) (netip.Addr, error) {
	s, err := String(v)
	if err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("is %q, must be an IP address", s)
	}
	if check != nil {
		if err := check(a); err != nil {
			return netip.Addr{}, fmt.Errorf("is %q: %w", s, err)
		}
	}
	return a, nil
}

func showIP(a netip.Addr) any {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Prefixes is a list of addresses of stations, each with the length of its network's prefix.
func Prefixes(dst *[]netip.Prefix) Value {
	return Make("list of strings, addresses with prefix lengths", dst, func(v any) ([]netip.Prefix, error) {
		list, err := Array(v)
		if err != nil {
			return nil, err
		}
		var prefixes []netip.Prefix
		for i, e := range list {
			p, err := prefix(e)
			if err == nil && slices.Contains(prefixes, p) {
				err = fmt.Errorf("is %s, which is there already", p)
			}
			if err != nil {
				return nil, fmt.Errorf("element %d %w", i, err)
			}
			prefixes = append(prefixes, p)
		}
		return prefixes, nil
	}, func(prefixes []netip.Prefix) any {
		words := make([]string, len(prefixes))
		for i, p := range prefixes {
			words[i] = p.String()
		}
		return words
	})
}

func prefix(v any) (netip.Prefix, error) {
	s, err := String(v)
	if err != nil {
		return netip.Prefix{}, err
	}
	p, err := netip.ParsePrefix(s)
	switch a := p.Addr(); {
	case err != nil || a.Is4In6():
		return p, fmt.Errorf("is %q, must be an address and the length of its network's prefix such as 10.0.0.1/24", s)
	case a.IsUnspecified() || a.IsMulticast():
		return p, fmt.Errorf("is %q, must be the address of a station", s)
	}
	return p, nil
}

// Networks is a list of IP addresses and prefixes, kept in order and without repetitions.
func Networks(dst *[]netip.Prefix) Value {
	return Make("list of strings, IP addresses or prefixes", dst, func(v any) ([]netip.Prefix, error) {
		ps, err := elements(v, Network)
		slices.SortFunc(ps, func(a, b netip.Prefix) int {
			return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
		})
		return slices.Compact(ps), err
	}, func(ps []netip.Prefix) any {
		all := make([]string, len(ps))
		for i, p := range ps {
			all[i] = ShowNetwork(p)
		}
		return all
	})
}

// ShowNetwork formats a prefix for Network.
func ShowNetwork(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Network returns a value as a prefix, of the full length if the value is an IP address.
func Network(v any) (p netip.Prefix, err error) {
	s, err := String(v)
	if err != nil {
		return p, err
	}
	if strings.Contains(s, "/") {
		p, err = netip.ParsePrefix(s)
	} else {
		var a netip.Addr
		if a, err = netip.ParseAddr(s); err == nil && a.Zone() == "" {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	switch {
	case err != nil || !p.IsValid() || p.Addr().Is4In6():
		return p, fmt.Errorf("is %q, must be an IP address or a prefix such as 10.0.0.0/24", s)
	case p != p.Masked():
		return p, fmt.Errorf("is %q, must be %s or %s", s, p.Masked(), p.Addr())
	}
	return p, nil
}

// Socket is the path of a unix socket.
func Socket(dst *string) Value { return Make("string, a path", dst, socketPath, asAny) }

// OptionalSocket is the path of a unix socket, or "".
func OptionalSocket(dst *string) Value {
	return Make(`string, a path or ""`, dst, orEmpty(socketPath), asAny)
}

// Directory is the path of a directory.
func Directory(dst *string) Value {
	return Make("string, a path", dst, directory, asAny)
}

// Directories are the paths of directories.
func Directories(dst *[]string) Value {
	return Make("list of strings, paths", dst, func(v any) ([]string, error) { return elements(v, directory) },
		func(dirs []string) any { return append([]string{}, dirs...) })
}

func directory(v any) (string, error) {
	s, err := String(v)
	if err != nil {
		return "", err
	}
	if s == "" || strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("is %q, must be a directory", s)
	}
	return filepath.Clean(s), nil
}

// MaxName is the longest name of a port and of an interface, in bytes: the kernel's IFNAMSIZ
// without the final NUL.
const MaxName = 15

// Interface is the name of a network interface.
func Interface(dst *string) Value {
	return Make("string, an interface's name", dst, func(v any) (string, error) {
		s, err := String(v)
		if err != nil {
			return "", err
		}
		// As dev_valid_name of Linux.
		if s == "" || len(s) > MaxName || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\n\v\f\r\x00") {
			return "", fmt.Errorf("%q is no name of a network interface", s)
		}
		return s, nil
	}, asAny)
}

// OptionalHostPort is an address and a port to listen on, or "". An address without a host means
// all addresses of this machine.
func OptionalHostPort(dst *string) Value {
	return Make(`string, "HOST:PORT" or ""`, dst, orEmpty(func(v any) (string, error) {
		s, err := String(v)
		if err != nil {
			return "", err
		}
		_, port, err := net.SplitHostPort(s)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			return "", fmt.Errorf("is %q, must be an address and a port such as 127.0.0.1:9747", s)
		}
		return s, nil
	}), asAny)
}

// FileMode is a string of octal digits. An integer would be error-prone: operators write 660 and
// mean 0o660.
func FileMode(dst *fs.FileMode) Value {
	return Make("string, octal digits", dst, func(v any) (fs.FileMode, error) {
		s, ok := v.(string)
		n, err := strconv.ParseUint(s, 8, 32)
		if !ok || err != nil || n > 0o777 {
			return 0, fmt.Errorf(`is %s, must be octal digits in quotes such as "0660"`, show(v))
		}
		return fs.FileMode(n), nil
	}, func(m fs.FileMode) any { return fmt.Sprintf("%04o", m) })
}

// User is the name or number of a user; "", stored as -1, means the process's user. Names that the
// system cannot be asked for are looked for in a, which may be nil.
func User(dst *int, a *Accounts) Value { return account(dst, "user", a.user) }

// Group is the name or number of a group; "", stored as -1, means the process's group. a is as for
// User.
func Group(dst *int, a *Accounts) Value { return account(dst, "group", a.group) }

func account(dst *int, what string, lookup func(string) (string, error)) Value {
	return Make("string, a "+what+`'s name or number, or ""`, dst, func(v any) (int, error) {
		s, err := String(v)
		if err != nil {
			return 0, err
		}
		if s == "" {
			return -1, nil
		}
		id := s
		if strings.Trim(s, "0123456789") != "" {
			if id, err = lookup(s); errors.Is(err, fs.ErrPermission) {
				return 0, fmt.Errorf("%s %q %w", what, s, err)
			} else if err != nil {
				return 0, fmt.Errorf("there is no %s %q", what, s)
			}
		}
		n, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("there is no %s %q", what, s)
		}
		return int(n), nil
	}, func(id int) any {
		if id < 0 {
			return ""
		}
		return strconv.Itoa(id)
	})
}

// Size is a number of bytes from lo to hi, written as a string.
func Size(dst *uint64, lo, hi uint64) Value {
	return Make(fmt.Sprintf("string, a size from %s to %s", showSize(lo), showSize(hi)), dst, func(v any) (uint64, error) {
		s, err := String(v)
		if err != nil {
			return 0, fmt.Errorf(`%w such as "512MiB" or "1TiB"`, err)
		}
		n, err := ParseSize(s)
		if err != nil {
			return 0, err
		}
		if n < lo || n > hi {
			return 0, fmt.Errorf("is %q, must be from %s to %s", s, showSize(lo), showSize(hi))
		}
		return n, nil
	}, func(n uint64) any { return showSize(n) })
}

// Rate is bits per second, in a string: 0, or from lo to hi.
func Rate(dst *uint64, lo, hi uint64) Value {
	return Make(fmt.Sprintf(`string, bits per second, "0" or %s to %s`, showRate(lo), showRate(hi)), dst, func(v any) (uint64, error) {
		s, err := String(v)
		if err != nil {
			return 0, fmt.Errorf(`%w such as "500M" or "1G"`, err)
		}
		n, err := ParseRate(s)
		if err != nil {
			return 0, err
		}
		if n != 0 && (n < lo || n > hi) {
			return 0, fmt.Errorf(`is %q, must be "0" or from %s to %s`, s, showRate(lo), showRate(hi))
		}
		return n, nil
	}, func(n uint64) any { return showRate(n) })
}

func asAny(s string) any { return s }

func number[T int | uint16](n T) any { return int64(n) }

func numbers[T int | uint16](ns []T) any {
	all := make([]int64, len(ns))
	for i, n := range ns {
		all[i] = int64(n)
	}
	return all
}

// orEmpty accepts "" and passes any other value to read.
func orEmpty(read func(any) (string, error)) func(any) (string, error) {
	return func(v any) (string, error) {
		if v == "" {
			return "", nil
		}
		return read(v)
	}
}

func integer[T int | uint16](lo, hi int64) func(any) (T, error) {
	return func(v any) (T, error) {
		n, ok := v.(int64)
		if !ok {
			return 0, fmt.Errorf("is %s, must be an integer", KindOf(v))
		}
		if n < lo || n > hi {
			return 0, fmt.Errorf("is %d, must be from %d to %d", n, lo, hi)
		}
		return T(n), nil
	}
}

func integers[T int | uint16](lo, hi int64) func(any) ([]T, error) {
	read := integer[T](lo, hi)
	return func(v any) ([]T, error) { return elements(v, read) }
}

// elements converts each element of an array with read.
func elements[T any](v any, read func(any) (T, error)) (ts []T, err error) {
	list, err := Array(v)
	if err != nil {
		return nil, err
	}
	for i, e := range list {
		t, err := read(e)
		if err != nil {
			return nil, fmt.Errorf("element %d %w", i, err)
		}
		ts = append(ts, t)
	}
	return ts, nil
}

func station[M ~[6]byte](v any) (none M, err error) {
	s, err := String(v)
	if err != nil {
		return none, err
	}
	m, err := net.ParseMAC(s)
	switch {
	case err != nil || len(m) != 6:
		return none, fmt.Errorf("is %q, must be a MAC address such as 52:54:00:12:34:56", s)
	case m[0]&1 != 0:
		return none, fmt.Errorf("%s is a multicast address, must be that of one station", m)
	case M(m) == none:
		return none, fmt.Errorf("%s is no address of a station", m)
	}
	return M(m), nil
}

func hardware[M ~[6]byte](m M) string { return net.HardwareAddr(m[:]).String() }

// MaxSocketPath is the longest path of a unix socket in bytes: sun_path of unix(7) has 108, one of
// them for the final NUL.
const MaxSocketPath = 107

func socketPath(v any) (string, error) {
	s, err := String(v)
	if err != nil {
		return "", err
	}
	return filepath.Clean(s), CheckSocketPath(s)
}

// CheckSocketPath returns an error if s cannot be the path of a socket.
func CheckSocketPath(s string) error {
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

// ReadDuration parses a string such as "5m" as a duration from lo to hi.
func ReadDuration(v any, lo, hi time.Duration) (time.Duration, error) {
	s, err := String(v)
	if err != nil {
		return 0, fmt.Errorf(`%w such as "300s"`, err)
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf(`is %q, must be a duration such as "300s" or "5m"`, s)
	}
	if d < lo || d > hi {
		return 0, fmt.Errorf("is %v, must be from %v to %v", d, lo, hi)
	}
	return d, nil
}

// ShowDuration formats a duration without trailing parts that are zero: 5m instead of 5m0s.
func ShowDuration(d time.Duration) string {
	s := d.String()
	if rest, ok := strings.CutSuffix(s, "m0s"); ok {
		s = rest + "m"
	}
	if rest, ok := strings.CutSuffix(s, "h0m"); ok {
		s = rest + "h"
	}
	return strings.Replace(s, "µ", "u", 1)
}

// Word returns a value that is one of words. An empty word is accepted, but not listed in the
// error.
func Word[T ~string](v any, words ...T) (T, error) {
	s, err := String(v)
	if err != nil {
		return "", err
	}
	if slices.Contains(words, T(s)) {
		return T(s), nil
	}
	bare := make([]string, 0, len(words))
	for _, w := range words {
		if w != "" {
			bare = append(bare, string(w))
		}
	}
	return "", fmt.Errorf("is %q, must be one of %s%s", s, quoted(bare), nearest.Hint(s, bare))
}

// Words lists words for Value.Type.
func Words[T ~string](words []T) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = string(w)
	}
	return "string, one of " + quoted(all)
}

func quoted(words []string) string {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = strconv.Quote(w)
	}
	return strings.Join(names, ", ")
}
