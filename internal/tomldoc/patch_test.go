package tomldoc

import (
	"encoding/json"
	"strings"
	"testing"
)

// UnmarshalText parses a patch for a test.
func (p *Patch) UnmarshalText(t testing.TB, text string) Patch {
	t.Helper()
	if err := json.Unmarshal([]byte(text), (*[]Edit)(p)); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return *p
}

// The operations of a patch, on keys and on elements, as RFC 6902 has them.
func TestApply(t *testing.T) {
	const doc = "[port.a]\ntag = 1\n[port.b]\n[[fdb]]\nmac = \"x\"\n[[fdb]]\nmac = \"y\"\n"
	for _, tt := range []struct{ patch, want, err string }{
		{`[]`, `{"port":{"a":{"tag":1},"b":{}},"fdb":[{"mac":"x"},{"mac":"y"}]}`, ""},
		{`[{"op":"add","path":"/port/a/tag","value":2},{"op":"add","path":"/port/c","value":{"l":[1,true,1.5]}}]`,
			`{"port":{"a":{"tag":2},"b":{},"c":{"l":[1,true,1.5]}},"fdb":[{"mac":"x"},{"mac":"y"}]}`, ""},
		{`[{"op":"add","path":"/fdb/1","value":{}},{"op":"add","path":"/fdb/-","value":{"mac":"z"}},{"op":"remove","path":"/fdb/0"},{"op":"remove","path":"/port"}]`,
			`{"fdb":[{},{"mac":"y"},{"mac":"z"}]}`, ""},
		{`[{"op":"move","from":"/port/a","path":"/port/z"},{"op":"copy","from":"/fdb/1","path":"/fdb/0"},{"op":"replace","path":"/fdb/2/mac","value":"w"}]`,
			`{"port":{"b":{},"z":{"tag":1}},"fdb":[{"mac":"y"},{"mac":"x"},{"mac":"w"}]}`, ""},
		{`[{"op":"add","path":"/mirror/m","value":{}},{"op":"add","path":"/mdb/-","value":{}},{"op":"test","path":"/port/a","value":{"tag":1}}]`,
			`{"port":{"a":{"tag":1},"b":{}},"fdb":[{"mac":"x"},{"mac":"y"}],"mirror":{"m":{}},"mdb":[{}]}`, ""},
		{`[{"op":"replace","path":"/port/c","value":1}]`, "", "edit 0: replace /port/c: there is no /port/c"},
		{`[{"op":"add","path":"/port/c/tag","value":1}]`, "", "edit 0: add /port/c/tag: there is no /port/c"},
		{`[{"op":"add","path":"/port/a/tag/x","value":1}]`, "", "edit 0: add /port/a/tag/x: /port/a/tag is no table"},
		{`[{"op":"add","path":"/fdb/3","value":1}]`, "", `edit 0: add /fdb/3: "3" is no index of an array of 2 elements`},
		{`[{"op":"add","path":"/fdb/01","value":1}]`, "", `edit 0: add /fdb/01: "01" is no index of an array of 2 elements`},
		{`[{"op":"remove","path":"/fdb/-"}]`, "", "edit 0: remove /fdb/-: there is no /fdb/-: the array has 2 elements"},
		{`[{"op":"remove","path":"/fdb/0"},{"op":"test","path":"/fdb/0/mac","value":"x"}]`, "", `edit 1: test /fdb/0/mac: the value is "y"`},
		{`[{"op":"move","from":"/port","path":"/port/a"}]`, "", "edit 0: move /port/a: a value cannot be moved into itself"},
		{`[{"op":"remove","path":""}]`, "", "edit 0: remove : the document as a whole cannot be replaced"},
	} {
		var p Patch
		tree := parse(t, doc)
		err := p.UnmarshalText(t, tt.patch).Apply(tree)
		got, jsonErr := json.Marshal(tree)
		if jsonErr != nil {
			t.Fatal(jsonErr)
		}
		switch {
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%s: %v; want %s", tt.patch, err, tt.err)
		case tt.err == "" && (err != nil || string(got) != tt.want):
			t.Errorf("%s: %v\n%s; want\n%s", tt.patch, err, got, tt.want)
		}
	}
}

// The text of a tree tells which lines a patch has set.
func TestRenderTellsWhatIsFresh(t *testing.T) {
	tree := parse(t, "[port.a]\ntag = 1\nqueues = 2\n[port.b]\n[port.c]\nmtu = 1500\n[[fdb]]\nmac = \"x\"\n")
	var p Patch
	err := p.UnmarshalText(t, `[{"op":"add","path":"/port/a/tag","value":2},{"op":"add","path":"/port/d","value":{"tag":3,"l":[]}},
		{"op":"remove","path":"/port/c/mtu"},{"op":"add","path":"/fdb/0","value":{"mac":"w"}},{"op":"add","path":"/switch/poll","value":"0s"}]`).Apply(tree)
	if err != nil {
		t.Fatal(err)
	}
	const want = `  [port.a]
* tag = 2
  queues = 2
  
  [port.b]
  
* [port.c]
  
* [port.d]
* tag = 3
* l = []
  
* [[fdb]]
* mac = "w"
  
  [[fdb]]
  mac = "x"
  
  [switch]
* poll = "0s"
`
	marked := func(tree *Table) (out string) {
		text, fresh := tree.Render()
		line := 1
		for l := range strings.Lines(string(text)) {
			out += map[bool]string{true: "* ", false: "  "}[fresh(line)] + l
			line++
		}
		return out
	}
	if got := marked(tree); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for l := range strings.Lines(marked(tree.Clone())) {
		if l[0] == '*' {
			t.Errorf("fresh in a clone: %s", l)
		}
	}
}
