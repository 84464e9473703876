package rules_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the name of this module, and root is its directory.
const (
	module = "vswitchd"
	root   = "../.."
)

// walk calls f with the path, relative to root, of each file that belongs to the repository.
func walk(t *testing.T, f func(name string)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == "build" || d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.Type().IsRegular() && name != ".git":
			f(name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(path.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// packages returns the packages of the module, by their folders, with the imports of each from the
// module. Test files are omitted; build constraints are ignored.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	walk(t, func(name string) {
		if path.Ext(name) != ".go" {
			return
		}
		dir := path.Dir(name)
		if _, ok := found[dir]; !ok {
			found[dir] = nil
		}
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, read(t, name), parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if rest, ok := strings.CutPrefix(imported, module+"/"); ok {
				found[dir] = append(found[dir], rest)
			}
		}
	})
	for dir, imports := range found {
		slices.Sort(imports)
		found[dir] = slices.Compact(imports)
	}
	return found
}
