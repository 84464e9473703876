package rules_test

import (
	"go/parser"
	"go/token"
	"path"
	"strings"
	"testing"
)

// Package unsafe is imported by files named *_unsafe.go only, so that whoever reviews memory safety
// knows which files to read. Tests are free to use the package.
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
				t.Errorf("%s imports unsafe, and is not named so", name)
			}
		}
	})
}
