// Package progress says how far something is that takes long, and how long it will still take: on a
// terminal in one line, which is replaced, elsewhere in a line for every tenth, so that a log of a
// continuous integration stays short. The commands of bench use it.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"
)

// A Line is the progress of something that has a number of steps of about the same length.
type Line struct {
	Verbose bool // whether details are written

	out   io.Writer
	width int // of the terminal in columns; 0: there is none
	steps int
	now   func() time.Time

	began time.Time
	done  int // steps
	told  int // tenths that were said
}

// Stderr returns a Line on standard error, and says there how many steps there are and, as an
// estimate, how long they take.
func Stderr(what string, steps int, each time.Duration) *Line {
	width := 0
	if fd := os.Stderr.Fd(); term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		width = 80
		if w, _, err := term.GetSize(fd); err == nil && w > 0 {
			width = w
		}
	}
	return newLine(os.Stderr, width, what, steps, each, time.Now)
}

func newLine(out io.Writer, width int, what string, steps int, each time.Duration, now func() time.Time) *Line {
	l := &Line{out: out, width: width, steps: steps, now: now, began: now()}
	fmt.Fprintf(out, "%s: %d steps, about %s\n", what, steps, duration(time.Duration(steps)*each))
	return l
}

// Step says that a step begins, and what it is about. The step before it is done.
func (l *Line) Step(what string) {
	if l.width > 0 {
		l.replace(fmt.Sprintf("%d of %d%s: %s", l.done+1, l.steps, l.left(), what))
	} else if tenth := 10 * l.done / max(l.steps, 1); tenth > l.told {
		l.told = tenth
		fmt.Fprintf(l.out, "%d %%%s\n", 10*tenth, l.left())
	}
	l.done++
}

// Skip says that steps will not be taken.
func (l *Line) Skip(steps int) { l.steps -= steps }

// Print writes lines that stay, such as what went wrong.
func (l *Line) Print(format string, args ...any) {
	if l.width > 0 {
		l.replace("")
	}
	fmt.Fprintf(l.out, format+"\n", args...)
}

// Detail writes lines that stay, if those are wanted.
func (l *Line) Detail(format string, args ...any) {
	if l.Verbose {
		l.Print(format, args...)
	}
}

// End says that all is done.
func (l *Line) End() { l.Print("done after %s", duration(l.now().Sub(l.began))) }

// replace replaces the line on the terminal.
func (l *Line) replace(text string) {
	fmt.Fprintf(l.out, "\r\x1b[K%s", ansi.Truncate(text, l.width-1, "…"))
}

// left says how long the rest takes, if it takes as long for each step as what is done.
func (l *Line) left() string {
	if l.done == 0 {
		return ""
	}
	each := l.now().Sub(l.began) / time.Duration(l.done)
	return ", about " + duration(each*time.Duration(max(0, l.steps-l.done))) + " left"
}

// duration returns a duration in whole minutes if it is long, and in whole seconds otherwise.
func duration(d time.Duration) string {
	if d < 2*time.Minute {
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
