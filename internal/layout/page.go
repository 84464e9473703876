package layout

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/term"

	"vswitchd/internal/nearest"
)

// DefaultWidth is the width in columns of what is no terminal.
const DefaultWidth = 80

// minWidth is the least width that tables are fitted to.
const minWidth = 20

// A Page is where text for people is written to. Colors of a Page are those of its terminal's
// palette, and only supplement what the text says.
type Page struct {
	io.Writer
	Width  int  // in columns, of the longest line
	Colors bool // whether the escape sequences of colors are written
}

// Values of a flag that says when there are colors.
const (
	ColorAuto   = "auto" // on terminals that have colors, unless NO_COLOR is set
	ColorAlways = "always"
	ColorNever  = "never"
)

// ColorChoices are the values of the flag.
var ColorChoices = []string{ColorAuto, ColorAlways, ColorNever}

// CheckColor returns an error unless when is one of the values of the flag.
func CheckColor(when string) error {
	if slices.Contains(ColorChoices, when) {
		return nil
	}
	return fmt.Errorf("is %q, must be one of %s%s", when, strings.Join(ColorChoices, ", "), nearest.Hint(when, ColorChoices))
}

// Colors reports whether text that goes to out has colors.
func Colors(out io.Writer, when string) bool {
	if when == ColorAuto {
		return colorprofile.Detect(out, os.Environ()) >= colorprofile.ANSI
	}
	return when == ColorAlways
}

// WidthOf returns the width in columns of the terminal that out is. For anything else, that is the
// environment variable COLUMNS, which shells do not export by themselves, or else DefaultWidth.
func WidthOf(out io.Writer) int {
	width := 0
	if f, ok := out.(term.File); ok {
		width, _, _ = term.GetSize(f.Fd()) // 0 if it is no terminal
	}
	if width <= 0 {
		width, _ = strconv.Atoi(os.Getenv("COLUMNS"))
	}
	if width <= 0 {
		return DefaultWidth
	}
	return max(width, minWidth)
}

// A Tone is what a text is about, which has a color.
type Tone int

// Values of Tone.
const (
	Plain Tone = iota
	Good       // as it should be
	Doubt      // may be wrong
	Bad        // wrong
	Title      // a heading
)

var styles = map[Tone]lipgloss.Style{
	Good:  lipgloss.NewStyle().Foreground(lipgloss.Green),
	Doubt: lipgloss.NewStyle().Foreground(lipgloss.Yellow),
	Bad:   lipgloss.NewStyle().Foreground(lipgloss.Red),
	Title: lipgloss.NewStyle().Bold(true),
}

// Styled returns a text with the color of its tone.
func (p *Page) Styled(t Tone, text string) string {
	if !p.Colors || t == Plain || text == "" {
		return text
	}
	return styles[t].Render(text)
}
