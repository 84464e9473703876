package rules_test

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// tableRow matches a row of a table in docs/architecture.md: the files or folders in the first
// cell, and the rest.
var tableRow = regexp.MustCompile("(?m)^\\| (`[^|]*) \\|(.*)$")

// The table of packages in docs/architecture.md names every package, and nothing that does not
// exist. The packages of test/ and bench/ are in these folders' rows, with names that are relative
// to the folder.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	doc := read(t, "docs/architecture.md")
	_, doc, _ = strings.Cut(doc, "\n## Packages\n")
	doc, _, _ = strings.Cut(doc, "\n## ")
	found := packages(t)
	named := map[string]bool{}
	for _, cell := range tableRow.FindAllStringSubmatch(doc, -1) {
		for _, name := range quoted.FindAllStringSubmatch(cell[1], -1) {
			if name[1] != "vswitch" { // the name of the package in switch/
				named[path.Clean(name[1])] = true
			}
			if name[1] == "test/" || name[1] == "bench/" {
				for _, inside := range quoted.FindAllStringSubmatch(cell[2], -1) {
					if inside[1] != "bench" { // the command
						named[path.Join(name[1], inside[1])] = true
					}
				}
			}
		}
	}
	for name := range named {
		if _, err := os.Stat(path.Join(root, name)); err != nil {
			t.Errorf("the table of packages names %s, which does not exist", name)
		}
	}
	for dir := range found {
		if !named[dir] {
			t.Errorf("the table of packages in docs/architecture.md does not name %s", dir)
		}
	}
}

// docs/architecture.md names every file with "unsafe".
func TestArchitectureNamesEveryUnsafeFile(t *testing.T) {
	named := map[string]bool{}
	for _, cell := range tableRow.FindAllStringSubmatch(read(t, "docs/architecture.md"), -1) {
		for _, name := range quoted.FindAllStringSubmatch(cell[1], -1) {
			named[name[1]] = true
		}
	}
	walk(t, func(name string) {
		if strings.HasSuffix(name, "_unsafe.go") && !named[name] {
			t.Errorf("docs/architecture.md does not say what %s does", name)
		}
	})
}

// quoted matches words in code font, and inRepository matches words that are paths within the
// repository.
var (
	quoted       = regexp.MustCompile("`([^`\\s]+)`")
	inRepository = regexp.MustCompile(`(?m)(?:^|[\s` + "`" + `(\[|])((?:\.ci|bench|cmd|docs|examples|internal|qemu-examples|scripts|switch|test|uplink|vhostuser|virtqueue)/[\w.*/-]*)`)
	link         = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// The text, the drawings and the links of documents refer only to files and folders that exist.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	walk(t, func(name string) {
		if path.Ext(name) != ".md" {
			return
		}
		text := read(t, name)
		for _, m := range inRepository.FindAllStringSubmatch(text, -1) {
			if !isThere(t, strings.TrimRight(m[1], ".,:")) {
				t.Errorf("%s names %s, which does not exist", name, m[1])
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, ":") {
				continue // an address
			}
			file := path.Join(path.Dir(name), target)
			if target == "" {
				file = name
			}
			if !isThere(t, file) {
				t.Errorf("%s links to %s, which does not exist", name, m[1])
			} else if anchor != "" && !hasHeading(read(t, file), anchor) {
				t.Errorf("%s links to %s, which has no such heading", name, m[1])
			}
		}
	})
}

// isThere reports whether a file or folder with the given name exists. A * in the name matches any
// text.
func isThere(t *testing.T, name string) bool {
	t.Helper()
	dir, base := path.Split(path.Clean(name))
	entries, err := os.ReadDir(path.Join(root, dir))
	if err != nil {
		return false
	}
	for _, e := range entries {
		if ok, err := path.Match(base, e.Name()); err != nil {
			t.Fatal(err)
		} else if ok {
			return true
		}
	}
	return false
}

// hasHeading reports whether one of a document's headings has the given anchor.
func hasHeading(text, anchor string) bool {
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && line[0] == '#' {
			if notInAnchors.ReplaceAllString(strings.ReplaceAll(strings.ToLower(strings.TrimSpace(title)), " ", "-"), "") == anchor {
				return true
			}
		}
	}
	return false
}

// notInAnchors matches the characters that GitHub removes from a heading to form its anchor.
var notInAnchors = regexp.MustCompile(`[^\w-]`)

// The index of documents has a line for each document, and README.md links to the index.
func TestDocumentsHaveAnIndex(t *testing.T) {
	index := read(t, "docs/README.md")
	walk(t, func(name string) {
		dir, base := path.Split(name)
		if dir == "docs/" && path.Ext(base) == ".md" && base != "README.md" && !strings.Contains(index, "| ["+base+"]("+base+") |") {
			t.Errorf("docs/README.md has no line for %s", base)
		}
	})
	if !strings.Contains(read(t, "README.md"), "(docs/README.md)") {
		t.Error("README.md has no link to docs/README.md")
	}
}
