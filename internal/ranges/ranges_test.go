package ranges

import (
	"slices"
	"testing"
)

func TestText(t *testing.T) {
	for want, ns := range map[string][]uint16{
		"":              nil,
		"7":             {7, 7},
		"5,6":           {6, 5},
		"5-7":           {6, 5, 7, 6},
		"0,1,5-7,9":     {9, 0, 5, 7, 6, 1},
		"65533-65535":   {65535, 65534, 65533},
		"0,65534,65535": {65535, 65534, 0},
	} {
		was := slices.Clone(ns)
		if got := Text(ns); got != want {
			t.Errorf("%v are %q, want %q", ns, got, want)
		}
		if !slices.Equal(ns, was) {
			t.Errorf("Text changed %v to %v", was, ns)
		}
	}
}

func TestParse(t *testing.T) {
	for s, want := range map[string]Range{
		"10-20": {10, 20}, "0-65535": {0, 65535}, "7-7": {7, 7}, "007-8": {7, 8},
	} {
		if r, ok := Parse(s); !ok || r != want {
			t.Errorf("%q: %v, %v", s, r, ok)
		}
	}
	for _, s := range []string{"", "-", "5", "5-", "-5", "20-10", "1-65536", "1-2-3", " 1-2", "1 - 2", "+1-2", "a-b", "1–2", "0x1-2", "1_0-20"} {
		if r, ok := Parse(s); ok {
			t.Errorf("%q is %v", s, r)
		}
	}
}

// FuzzParse: what is a range is written as one that is the same, and the set of its numbers as
// well.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"10-20", "1-2", "5-5", "20-10", "0-65535", "-", "9999999999-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := Parse(s)
		if !ok {
			return
		}
		if r.First > r.Last {
			t.Fatalf("%q is %v", s, r)
		}
		var ns []uint16
		for n := int(r.First); n <= int(r.Last); n++ {
			ns = append(ns, uint16(n))
		}
		got := Of(ns)
		if len(ns) >= shortest && !slices.Equal(got, []Range{r}) || len(ns) < shortest && len(got) != len(ns) {
			t.Errorf("%q is %v", s, got)
		}
		if back, ok := Parse(r.String()); r.First != r.Last && (!ok || back != r) {
			t.Errorf("%v is written as %s, which is %v", r, r, back)
		}
	})
}
