package rules_test

import (
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// Lines of comments and prose are at most columns wide; a tab counts as the spaces in tab.
const (
	columns = 100
	tab     = "    "
)

// unbreakable matches text that does not count towards the width: the targets of links, and URLs.
var unbreakable = regexp.MustCompile(`\]\([^)\s]+\)|https?://\S+`)

// tooLong reports whether a line is wider than columns.
func tooLong(line string) bool {
	line = strings.TrimRight(strings.ReplaceAll(line, "\t", tab), "\n")
	return utf8.RuneCountInString(unbreakable.ReplaceAllString(line, "")) > columns
}

// Comment lines are not wider than columns, except those indented by a tab, which are code or
// drawings.
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

// Lines of Markdown are not wider than columns, except in tables and code blocks.
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
