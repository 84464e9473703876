package walkthrough

import (
	"fmt"
	"os"
	"strings"
)

// A Block is a code block of a document.
type Block struct {
	File  string
	Line  int      // of the first line of Text, from 1
	Words []string // after the three backquotes
	Text  string   // without the indentation that the block itself has
}

// String says where the block is.
func (b Block) String() string { return fmt.Sprintf("%s:%d", b.File, b.Line) }

// Is reports whether the block's words begin with the given ones.
func (b Block) Is(words ...string) bool {
	if len(b.Words) < len(words) {
		return false
	}
	for i, word := range words {
		if b.Words[i] != word {
			return false
		}
	}
	return true
}

// Blocks returns the code blocks of a Markdown file, in their order. If heading is not empty, they
// are those below this heading, up to the next heading of the same or a higher level.
func Blocks(file, heading string) ([]Block, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var blocks []Block
	var open *Block
	inside, found, indent, level := heading == "", heading == "", "", 0
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		content := strings.TrimLeft(line, " ")
		words, fence := strings.CutPrefix(content, "```")
		switch {
		case open != nil && fence:
			if inside {
				blocks = append(blocks, *open)
			}
			open = nil
		case open != nil:
			open.Text += strings.TrimPrefix(line, indent)
		case fence:
			open = &Block{File: file, Line: n + 1, Words: strings.Fields(words)}
			indent = line[:len(line)-len(content)]
		case heading != "" && strings.HasPrefix(line, "#"):
			title := strings.TrimLeft(line, "#")
			depth := len(line) - len(title)
			if strings.TrimSpace(title) == heading {
				inside, found, level = true, true, depth
			} else if depth <= level {
				inside = false
			}
		}
	}
	switch {
	case open != nil:
		return nil, fmt.Errorf("%v: the block has no end", *open)
	case !found:
		return nil, fmt.Errorf("%s has no heading %q", file, heading)
	}
	return blocks, nil
}
