package rules_test

import (
	"go/parser"
	"go/token"
	"path"
	"strings"
	"testing"
)

// Only files named *_unsafe.go import package unsafe, so that a reviewer of memory safety knows
// which files to read. Tests may use the package.
func TestUnsafeIsInFilesOfThatName(t *testing.T) {
	walk(t, func(name string) {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, "_unsafe.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, read(t, name), parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			if spec.Path.Value == `"unsafe"` {
				t.Errorf("%s imports unsafe, but is not named *_unsafe.go", name)
			}
		}
	})
}
