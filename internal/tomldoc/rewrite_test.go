package tomldoc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parse(t testing.TB, text string) *Table {
	t.Helper()
	tree, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return tree
}

// What an edit does to a text, comments and order included.
func TestRewrite(t *testing.T) {
	for _, tt := range []struct{ name, text, patch, want string }{
		{"a value changes", "[port.a] # first\ntag = 1 # red\nqueues = 2\n", `[{"op":"replace","path":"/port/a/tag","value":7}]`,
			"[port.a] # first\ntag = 7 # red\nqueues = 2\n"},
		{"a key is added", "[port.a]\n  tag = 1\n\n# about b\n[port.b]\n", `[{"op":"add","path":"/port/a/mac","value":"x"}]`,
			"[port.a]\n  tag = 1\n  mac = \"x\"\n\n# about b\n[port.b]\n"},
		{"a key is added to an empty table", "[port.a]\n[port.b]", `[{"op":"add","path":"/port/b/tag","value":1}]`, "[port.a]\n[port.b]\ntag = 1\n"},
		{"a key is removed", "[port.a]\n# one\ntag = 1 # two\n# three\nqueues = 2\n", `[{"op":"remove","path":"/port/a/tag"}]`,
			"[port.a]\n# one\n# three\nqueues = 2\n"},
		{"a table is added", "[port.a]\ntag = 1\n# queues = 2\n\n# the rest\n[switch]\nworkers = 1\n", `[{"op":"add","path":"/port/b","value":{"tag":2}}]`,
			"[port.a]\ntag = 1\n# queues = 2\n\n[port.b]\ntag = 2\n\n# the rest\n[switch]\nworkers = 1\n"},
		{"the first table of a kind is added", "[switch]\nworkers = 1", `[{"op":"add","path":"/port/b","value":{}}]`, "[switch]\nworkers = 1\n\n[port.b]\n"},
		{"to an empty text", "", `[{"op":"add","path":"/switch/poll","value":"0s"}]`, "[switch]\npoll = \"0s\"\n"},
		{"a table is removed", "# top\n[port.a]\ntag = 1\n# within\nmac = \"\"\n\n# b's\n[port.b]\n", `[{"op":"remove","path":"/port/a"}]`,
			"# top\n\n# b's\n[port.b]\n"},
		{"a table is removed in the middle", "[port.a]\n\n[port.b]\ntag = 1\n\n[port.c]\n", `[{"op":"remove","path":"/port/b"}]`, "[port.a]\n\n[port.c]\n"},
		{"the last table is removed", "[port.a]\n\n[port.b]\ntag = 1\n", `[{"op":"remove","path":"/port/b"}]`, "[port.a]\n"},
		{"all is removed", "[port.b]\ntag = 1\n", `[{"op":"remove","path":"/port/b"}]`, ""},
		{"an element of an array is changed", "trunks = [\n  10, # lab\n  20,\n]\n", `[{"op":"replace","path":"/trunks/1","value":30}]`,
			"trunks = [\n  10, # lab\n  30,\n]\n"},
		{"elements are added to lines", "a = [\n  \"x\", # one\n  \"y\" # two\n]\n", `[{"op":"add","path":"/a/-","value":"z"},{"op":"add","path":"/a/0","value":"w"}]`,
			"a = [\n  \"w\",\n  \"x\", # one\n  \"y\", # two\n  \"z\"\n]\n"},
		{"elements are added, with a comma at the end", "a = [\n  1, # one\n]\n", `[{"op":"add","path":"/a/-","value":2}]`, "a = [\n  1, # one\n  2,\n]\n"},
		{"elements are added in a line", "a = [ 1 ] # c\n", `[{"op":"add","path":"/a/-","value":2},{"op":"add","path":"/a/0","value":0}]`, "a = [ 0, 1, 2 ] # c\n"},
		{"elements are removed in a line", "a = [1, 2, 3]\n", `[{"op":"remove","path":"/a/2"},{"op":"remove","path":"/a/0"}]`, "a = [2]\n"},
		{"elements are removed from lines", "a = [\n  1, # one\n  2, # two\n  3 # three\n]\n", `[{"op":"remove","path":"/a/2"},{"op":"remove","path":"/a/0"}]`,
			"a = [\n  2 # two\n]\n"},
		{"a rule is put between others", "[filter.f]\nrules = [\n  { name = \"a\" }, # first\n  { name = \"b\" },\n]\n", `[{"op":"add","path":"/filter/f/rules/1","value":{"name":"x"}}]`,
			"[filter.f]\nrules = [\n  { name = \"a\" }, # first\n  { name = \"x\" },\n  { name = \"b\" },\n]\n"},
		{"a key of a rule changes", "[filter.f]\nrules = [{ name = \"a\", vlan = 1 }, { name = \"b\" }]\n",
			`[{"op":"add","path":"/filter/f/rules/1/vlan","value":2},{"op":"remove","path":"/filter/f/rules/0/vlan"}]`,
			"[filter.f]\nrules = [{ name = \"a\" }, { name = \"b\", vlan = 2 }]\n"},
		{"an entry is added", "[[fdb]]\nmac = \"a\"\n\n# x\n[[fdb]]\nmac = \"b\"\n\n[log]\n", `[{"op":"add","path":"/fdb/1","value":{"mac":"x"}},{"op":"add","path":"/fdb/-","value":{"mac":"y"}}]`,
			"[[fdb]]\nmac = \"a\"\n\n[[fdb]]\nmac = \"x\"\n\n# x\n[[fdb]]\nmac = \"b\"\n\n[[fdb]]\nmac = \"y\"\n\n[log]\n"},
		{"an entry is removed", "[[fdb]]\nmac = \"a\"\n\n[[fdb]]\nmac = \"b\"\n", `[{"op":"remove","path":"/fdb/0"}]`, "[[fdb]]\nmac = \"b\"\n"},
		{"dotted keys", "port.a.tag = 1\nport.b.tag = 2\n", `[{"op":"add","path":"/port/a/mac","value":"x"},{"op":"remove","path":"/port/b/tag"}]`,
			"port.a.tag = 1\nport.a.mac = \"x\"\nport.b = {}\n"},
		{"dotted keys below a header", "[port]\na.tag = 1 # c\n", `[{"op":"replace","path":"/port/a/tag","value":2},{"op":"add","path":"/port/a/mac","value":"x"}]`,
			"[port]\na.tag = 2 # c\na.mac = \"x\"\n"},
		{"inline tables", "port = { a = { tag = 1 }, b = {} }\n", `[{"op":"add","path":"/port/b/tag","value":2},{"op":"remove","path":"/port/a"},{"op":"add","path":"/port/c","value":{"tag":3}}]`,
			"port = { b = { tag = 2 }, c = { tag = 3 } }\n"},
		{"names in quotes", "[port.\"a.b\"]\ntag = 1\n", `[{"op":"replace","path":"/port/a.b/tag","value":2},{"op":"add","path":"/port/c.d","value":{}}]`,
			"[port.\"a.b\"]\ntag = 2\n\n[port.\"c.d\"]\n"},
		{"carriage returns", "[port.a]\r\ntag = 1\r\n", `[{"op":"add","path":"/port/a/mac","value":"x"},{"op":"add","path":"/port/b","value":{}}]`,
			"[port.a]\r\ntag = 1\r\nmac = \"x\"\r\n\r\n[port.b]\r\n"},
		{"strings that look like TOML", "a = '''\n[x] # no\n'''\nb = \"# \\\" ]\" # c\n", `[{"op":"replace","path":"/b","value":"\n\\"}]`,
			"a = '''\n[x] # no\n'''\nb = \"\\n\\\\\" # c\n"},
		{"strings that end with quotes", "a = [\"\"\"x\"\"\"\"\"] # c\nb = 1\n", `[{"op":"add","path":"/a/-","value":1},{"op":"replace","path":"/b","value":2}]`,
			"a = [\"\"\"x\"\"\"\"\", 1] # c\nb = 2\n"},
		{"a filter that has only rules", "# r\n[[filter.f.rules]]\nname = \"a\"\n", `[{"op":"add","path":"/filter/f/default","value":"drop"},{"op":"add","path":"/filter/f/rules/-","value":{"name":"b"}}]`,
			"[filter.f]\ndefault = \"drop\"\n\n# r\n[[filter.f.rules]]\nname = \"a\"\n\n[[filter.f.rules]]\nname = \"b\"\n"},
		{"all rules are removed", "[filter.f]\ndefault = \"drop\"\n[[filter.f.rules]]\nname = \"a\"\n[log]\n", `[{"op":"replace","path":"/filter/f/rules","value":[]}]`,
			"[filter.f]\ndefault = \"drop\"\nrules = []\n[log]\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := parse(t, tt.text)
			var p Patch
			if err := p.UnmarshalText(t, tt.patch).Apply(want); err != nil {
				t.Fatal(err)
			}
			got, err := Rewrite([]byte(tt.text), want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A writer writes a tree in one of the ways in which TOML lets that be written, with comments.
type writer struct {
	rand     *rand.Rand
	b        strings.Builder
	comments int
}

func (w *writer) one(n int) bool { return w.rand.IntN(n) == 0 }

// remark writes a comment, or a blank line, or nothing. where says whether the comment is between
// sections or within one.
func (w *writer) remark(where string) {
	if w.one(3) {
		w.comments++
		fmt.Fprintf(&w.b, "# %s %d\n", where, w.comments)
	}
	if w.one(3) {
		w.b.WriteString("\n")
	}
}

func (w *writer) line(key string, v any) {
	w.remark("within")
	w.b.WriteString(strings.Repeat(" ", w.rand.IntN(3)) + key + " = ")
	w.value(v)
	if w.one(4) {
		w.b.WriteString(" # behind")
	}
	w.b.WriteString("\n")
}

func (w *writer) value(v any) {
	list, ok := v.([]any)
	if !ok || len(list) == 0 || w.one(2) {
		w.b.WriteString(Literal(v))
		return
	}
	w.b.WriteString("[\n")
	for i, e := range list {
		w.b.WriteString("  " + Literal(e))
		if i < len(list)-1 || w.one(2) {
			w.b.WriteString(",")
		}
		if w.one(3) {
			w.b.WriteString(" # element")
		}
		w.b.WriteString("\n")
	}
	w.b.WriteString("]")
}

// document writes tables of tables and arrays of tables.
func (w *writer) document(doc *Table) {
	for _, e := range doc.Entries {
		key := keyText(e.Key)
		switch group := e.Value.(type) {
		case []any:
			if !isSection(group) {
				continue
			}
			for _, elem := range group {
				w.remark("between")
				w.b.WriteString("[[" + key + "]]\n")
				w.body(elem.(*Table), key)
			}
		case *Table:
			if dotted := w.one(4); dotted && len(group.Entries) > 0 {
				w.remark("between")
				w.b.WriteString("[" + key + "]\n")
				w.dotted(group)
				continue
			}
			for _, sub := range group.Entries {
				w.remark("between")
				path := key + "." + keyText(sub.Key)
				w.b.WriteString("[" + path + "]\n")
				w.body(sub.Value.(*Table), path)
			}
		}
	}
}

// dotted writes the tables of a group by dotted keys and inline tables.
func (w *writer) dotted(group *Table) {
	for _, sub := range group.Entries {
		t := sub.Value.(*Table)
		if len(t.Entries) == 0 || w.one(2) {
			w.line(keyText(sub.Key), t)
			continue
		}
		for _, e := range t.Entries {
			w.line(keyText(sub.Key)+"."+keyText(e.Key), e.Value)
		}
	}
}

func (w *writer) body(t *Table, path string) {
	var sections []Entry
	for _, e := range t.Entries {
		if isSection(e.Value) && w.one(2) {
			sections = append(sections, e)
			continue
		}
		w.line(keyText(e.Key), e.Value)
	}
	for _, s := range sections {
		for _, e := range s.Value.([]any) {
			w.remark("within")
			w.b.WriteString("[[" + path + "." + keyText(s.Key) + "]]\n")
			w.body(e.(*Table), path+"."+s.Key)
		}
	}
}

var words = []string{"a", "b", "c.d", "ü", "e f"}

func someValue(r *rand.Rand) any {
	switch r.IntN(4) {
	case 0:
		return int64(r.IntN(5))
	case 1:
		return "x#]\"" + words[r.IntN(len(words))]
	case 2:
		return r.IntN(2) == 0
	}
	list := []any{}
	for range r.IntN(4) {
		list = append(list, int64(r.IntN(4)))
	}
	return list
}

func someTable(r *rand.Rand, rules bool) *Table {
	t := &Table{}
	for range r.IntN(4) {
		t.Set("k"+words[r.IntN(len(words))], someValue(r))
	}
	if rules && r.IntN(2) == 0 {
		list := []any{}
		for range r.IntN(4) {
			list = append(list, someTable(r, false))
		}
		t.Set("rules", list)
	}
	return t
}

// someDocument makes a document of the shape of a configuration.
func someDocument(r *rand.Rand) *Table {
	doc := &Table{}
	for _, kind := range []string{"port", "filter", "fdb"} {
		if kind == "fdb" {
			list := []any{}
			for range r.IntN(4) {
				list = append(list, someTable(r, false))
			}
			doc.Set(kind, list)
			continue
		}
		group := &Table{}
		for range r.IntN(4) {
			group.Set(words[r.IntN(len(words))], someTable(r, kind == "filter"))
		}
		doc.Set(kind, group)
	}
	return doc
}

// change changes a document in a few places.
func change(r *rand.Rand, doc *Table) *Table {
	changed, other := doc.Clone(), someDocument(r)
	for range 1 + r.IntN(3) {
		kind := changed.Entries[r.IntN(len(changed.Entries))]
		switch v := kind.Value.(type) {
		case *Table:
			name := words[r.IntN(len(words))]
			sub := other.Table(kind.Key).Table(name)
			switch {
			case sub == nil && v.index(name) >= 0:
				i := v.index(name)
				v.Entries = slices.Delete(v.Entries, i, i+1)
			case sub != nil && v.Table(name) != nil && r.IntN(4) > 0 && len(sub.Entries) > 0:
				v.Table(name).Set(sub.Entries[0].Key, clone(sub.Entries[0].Value))
			case sub != nil:
				v.Set(name, clone(sub))
			}
		case []any:
			list := slices.Clone(v)
			if len(list) > 0 && r.IntN(2) == 0 {
				i := r.IntN(len(list))
				list = slices.Delete(list, i, i+1)
			} else {
				list = slices.Insert(list, r.IntN(len(list)+1), any(someTable(r, false)))
			}
			changed.Set(kind.Key, list)
		}
	}
	return changed
}

// Whatever way a document is written in, an edited text means what the edited tree does, and keeps
// the comments between tables, in their order.
func TestRewriteEqualsEditOfTree(t *testing.T) {
	comments := func(text string) (list []string) {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(line), "# between") {
				list = append(list, strings.TrimSpace(line))
			}
		}
		return list
	}
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 1))
		doc := someDocument(r)
		w := &writer{rand: r}
		w.document(doc)
		text := w.b.String()
		if !parse(t, text).Equal(doc) {
			t.Fatalf("seed %d: the test writes another document:\n%s", seed, text)
		}
		want := change(r, doc)
		got, err := Rewrite([]byte(text), want)
		if err != nil {
			t.Fatalf("seed %d: %v\n%v\n%s", seed, err, Diff(doc, want), text)
		}
		if !parse(t, string(got)).Equal(want) {
			t.Fatalf("seed %d: the text means something else:\n%s", seed, got)
		}
		if diff := cmp.Diff(comments(text), comments(string(got))); diff != "" {
			t.Fatalf("seed %d: comments: %s\n%s\nbecame\n%s", seed, diff, text, got)
		}
		if doc.Equal(want) && string(got) != text {
			t.Fatalf("seed %d: a text that need not change has changed", seed)
		}
	}
}

// FuzzRewrite checks that any valid text is either edited to mean what another one does, or
// refused.
func FuzzRewrite(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		w := &writer{rand: r}
		doc := someDocument(r)
		w.document(doc)
		to, _ := change(r, doc).Render()
		f.Add([]byte(w.b.String()), to)
	}
	f.Add([]byte("a.b = { c.d = 1, c.e = [[1], {f = 2}] }\n[[g]]\n[g.h]\n[[g.i]]\n"), []byte("g = []\na = 1.5\nt = 1979-05-27T07:32:00Z"))
	f.Fuzz(func(t *testing.T, from, to []byte) {
		have, err := Parse(from)
		if err != nil {
			return
		}
		want, err := Parse(to)
		if err != nil {
			return
		}
		edited := have.Clone()
		if err := Diff(have, want).Apply(edited); err != nil || !edited.Equal(want) {
			t.Fatalf("the difference does not lead there: %v", err)
		}
		text, _ := want.Render()
		if again, err := Parse(text); err != nil || !again.Equal(want) {
			t.Fatalf("rendered as something else: %v\n%s", err, text)
		}
		got, err := Rewrite(from, want)
		if err != nil {
			if !errors.Is(err, ErrRewrite) {
				t.Fatal(err)
			}
			return
		}
		if again, err := Parse(got); err != nil || !again.Equal(want) {
			t.Fatalf("edited to something else: %v\n%s", err, got)
		}
	})
}
