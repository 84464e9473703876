package rules_test

import (
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// Comments and prose have lines of at most columns columns, where a tab is as wide as tab says.
const (
	columns = 100
	tab     = "    "
)

// unbreakable finds what may make a line longer: what a link leads to, and an address.
var unbreakable = regexp.MustCompile(`\]\([^)\s]+\)|https?://\S+`)

// tooLong reports whether a line has too many columns.
func tooLong(line string) bool {
	line = strings.TrimRight(strings.ReplaceAll(line, "\t", tab), "\n")
	return utf8.RuneCountInString(unbreakable.ReplaceAllString(line, "")) > columns
}

// In a comment, what is indented by a tab is code or a drawing, and may be wider.
func TestCommentsAreNotTooWide(t *testing.T) {
	walk(t, func(name string) {
		if path.Ext(name) != ".go" {
			return
		}
		n := 0
		for line := range strings.Lines(read(t, name)) {
			n++
			comment, ok := strings.CutPrefix(strings.TrimLeft(line, "\t"), "//")
			if ok && !strings.HasPrefix(comment, "\t") && tooLong(line) {
				t.Errorf("%s:%d: the comment is wider than %d columns", name, n, columns)
			}
		}
	})
}

// In Markdown, tables and blocks of code may be wider.
func TestProseIsNotTooWide(t *testing.T) {
	walk(t, func(name string) {
		if path.Ext(name) != ".md" {
			return
		}
		n, code := 0, false
		for line := range strings.Lines(read(t, name)) {
			n++
			switch start := strings.TrimLeft(line, " "); {
			case strings.HasPrefix(start, "```"):
				code = !code
			case !code && !strings.HasPrefix(start, "|") && tooLong(line):
				t.Errorf("%s:%d: the line is wider than %d columns", name, n, columns)
			}
		}
	})
}
