package key

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestShowDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 0, "50us": 50 * time.Microsecond, "1m30s": 90 * time.Second, "5m": 5 * time.Minute, "10m": 10 * time.Minute,
		"24h": 24 * time.Hour, "1h0m5s": time.Hour + 5*time.Second, "1h30m": 90 * time.Minute, "10h": 10 * time.Hour,
	} {
		got := ShowDuration(d)
		if back, err := time.ParseDuration(got); got != want || err != nil || back != d {
			t.Errorf("%v is shown as %s, which is %v, %v; want %s", d, got, back, err, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	text := "was"
	v := Printable(&text, 5)
	for s, want := range map[string]string{
		"":       "",
		"née 1":  "",
		"sixsix": "has 6 characters, at most 5 are possible",
		"a\nb":   `contains '\n', must consist of printable characters`,
		"\x1b[m": `contains '\x1b', must consist of printable characters`,
	} {
		text = "was"
		err := v.Set(s)
		if want == "" && (err != nil || text != s) {
			t.Errorf("%q: %v, stored is %q", s, err, text)
		}
		if want != "" && (err == nil || err.Error() != want || text != "was") {
			t.Errorf("%q: %v, stored is %q; want %s", s, err, text, want)
		}
	}
}

// A value that is refused is not stored, for every type.
func TestWhatIsRefusedIsNotStored(t *testing.T) {
	set := []uint16{1}
	ints, mac, macs, ips, n := []int{1}, [][6]byte{{2}}, [][6]byte{{2}}, []netip.Prefix{}, 3
	for _, v := range []Value{Ints(&ints, 0, 9), Ranges(&set, 0, 9), OptionalMAC(&mac), MACs(&macs), Networks(&ips), Int(&n, 0, 9), IntOrZero(&n, 2, 9)} {
		was := TOML(v.Get())
		for _, bad := range []any{int64(10), int64(-1), "01:00:00:00:00:00", []any{int64(2), "x"}, true, 1.5, map[string]any{}} {
			if err := v.Set(bad); err == nil || TOML(v.Get()) != was {
				t.Errorf("%s: after %v (%v), %s is %s", v.Type, bad, err, was, TOML(v.Get()))
			}
		}
	}
}

func TestDiffering(t *testing.T) {
	keys := func(path string, n int) []Key {
		return []Key{
			{Name: "path", Value: Text(&path), Same: func() any { return strings.ToLower(path) }},
			{Name: "n", Value: Int(&n, 0, 9)},
		}
	}
	for _, tt := range []struct {
		path string
		n    int
		want string
	}{{"A", 1, ""}, {"a", 1, ""}, {"b", 1, "path"}, {"a", 2, "n"}, {"b", 2, "path n"}} {
		var names []string
		for _, k := range Differing(keys(tt.path, tt.n), keys("A", 1)) {
			names = append(names, k.Name)
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%s %d: %q differ, want %q", tt.path, tt.n, got, tt.want)
		}
	}
}
