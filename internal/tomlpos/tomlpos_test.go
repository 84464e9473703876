package tomlpos

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lines returns every key of a layout with its line, in the order of the
// document.
func (n *Node) lines(path string) []string {
	var kids []string
	for k := range n.kids {
		kids = append(kids, k)
	}
	slices.SortFunc(kids, func(a, b string) int { return n.kids[a].Offset - n.kids[b].Offset })
	var out []string
	for _, k := range kids {
		kid := n.kids[k]
		out = append(out, fmt.Sprintf("%s%s %d", path, k, kid.Line))
		out = append(out, kid.lines(path+k+".")...)
		for i, e := range kid.elems {
			out = append(out, fmt.Sprintf("%s%s[%d] %d", path, k, i, e.Line))
			out = append(out, e.lines(fmt.Sprintf("%s%s[%d].", path, k, i))...)
		}
	}
	return out
}

func TestFind(t *testing.T) {
	for _, tt := range []struct{ name, doc, want string }{
		{"empty", "", ""},
		{"comments", "# a = 1\n\n  # b = 2\nc = 3 # d = 4\n", "c 4"},
		{"no newline at the end", "a = 1", "a 1"},
		{"carriage returns", "a = 1\r\nb = true\r\n", "a 1, b 2"},
		{"byte order mark", "\uFEFFa = 1\nb = 1", "a 1, b 2"},
		{"tables", "[a]\nx = 1\n[b.c]\ny = 1\n[b]\nz=1", "a 1, a.x 2, b 5, b.c 3, b.c.y 4, b.z 6"},
		{"quoted keys", "[a.\"b.c\"]\n'd#' = 1\n\"e\\\"]\" = 1\n\"\\u0066\" = 1", `a 1, a.b.c 1, a.b.c.d# 2, a.b.c.e"] 3, a.b.c.f 4`},
		{"dotted keys", "a.b.c = 1\na.b.d = 2\n", "a 1, a.b 1, a.b.c 1, a.b.d 2"},
		{"spaces in headers", "[ a . b ]\n[[ c ]]", "a 1, a.b 1, c 2, c[0] 2"},
		{"arrays of tables", "[[f]]\nx = 1\n[[f]]\nx = 2\n[f.g]\ny = 1", "f 1, f[0] 1, f[0].x 2, f[1] 3, f[1].x 4, f[1].g 5, f[1].g.y 6"},
		{"arrays", "a = [ 1, # one ]\n [ 2 ],\n]\nb = 1", "a 1, a[0] 1, a[1] 1, b 4"},
		{"inline tables", "a = { b = 1, c.d = \"}\" }\ne = [{f = 1},\n{f = 2}]", "a 1, a.b 1, a.c 1, a.c.d 1, e 2, e[0] 2, e[0].f 2, e[1] 3, e[1].f 3"},
		{"strings", `a = "\"#\\"` + "\nb = 'x\\'\nc = 1", "a 1, b 2, c 3"},
		{"long strings", "a = \"\"\"\n[x]\n\\\"\"\"\\\n\"\"\"\nb = '''\ny = 1\n'''''\nc = 1", "a 1, b 5, c 8"},
		{"dates", "a = 1979-05-27 07:32:00Z\nb = 1", "a 1, b 2"},
		{"broken header", "a = 1\n[b", "a 1"},
		{"broken value", "a = \nb = 1", ""},
		{"broken string", "a = \"x\nb = 1", ""},
		{"no value", "a\nb = 1", ""},
	} {
		got := strings.Join(Find([]byte(tt.doc)).Root.lines(""), ", ")
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestFindSecondDefinitions(t *testing.T) {
	doc := "[a]\nx = 1\nx = 2\n[b.\"c\"]\n[a]\n[ b.c ]\n"
	var got []string
	for _, d := range Find([]byte(doc)).Clashes {
		got = append(got, fmt.Sprintf("%s %d %d %s", strings.Join(d.Path, "."), d.First, d.Line, doc[d.Start:d.End]))
	}
	want := []string{"a.x 2 3 x", "a 1 5 a", "b.c 4 6 c"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A part of a key that would have to be a table, but is a value.
func TestFindValuesThatAreTables(t *testing.T) {
	doc := "a = 1\n[b]\nc.d = 1\nc.d.e = 2\n[a.b]\n"
	var got []string
	for _, c := range Find([]byte(doc)).Clashes {
		got = append(got, fmt.Sprintf("%s %d %d %v", strings.Join(c.Path, "."), c.First, c.Line, c.Twice))
	}
	want := []string{"b.c.d 3 4 false", "a 1 5 false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFindEndsInDeepNesting(t *testing.T) {
	l := Find([]byte("a = 1\nb = " + strings.Repeat("[", 1<<20)))
	if l.Root.Kid("a").Line != 1 {
		t.Error("the key before the nesting is lost")
	}
}
