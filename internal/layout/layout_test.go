package layout_test

import (
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/creack/pty"

	"vswitchd/internal/layout"
)

// The files of testdata have a table, or fields, and what they look like at some widths:
//
//	table width=30 colors
//	NAME omit=1 | COUNT right short | LIST fold=8 lines=2
//	first | 123456 | a,b,c
func TestLayout(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			var out strings.Builder
			page := &layout.Page{Writer: &out, Colors: td.HasArg("colors")}
			td.ScanArgs(t, "width", &page.Width)
			var rows [][]string
			for line := range strings.Lines(td.Input) {
				cells := strings.Split(line, "|")
				for i := range cells {
					cells[i] = strings.TrimSpace(cells[i])
				}
				rows = append(rows, cells)
			}
			if td.Cmd == "fields" {
				var pairs []string
				for _, r := range rows {
					pairs = append(pairs, r...)
				}
				page.Fields(func(name, value string) layout.Tone { return tone(value) }, pairs...)
			} else {
				page.Table(columns(t, rows[0]), rows[1:])
			}
			if !page.Colors {
				for line := range strings.Lines(out.String()) {
					if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > page.Width {
						t.Errorf("%s: a line is %d columns wide: %s", td.Pos, n, line)
					}
				}
			}
			return strings.ReplaceAll(out.String(), "\x1b", "ESC")
		})
	})
}

func tone(cell string) layout.Tone {
	switch cell {
	case "up":
		return layout.Good
	case "down":
		return layout.Bad
	}
	return layout.Plain
}

// columns reads the first row.
func columns(t *testing.T, titles []string) (list []layout.Column) {
	for _, text := range titles {
		c := layout.Column{Tone: tone}
		for word := range strings.FieldsSeq(text) {
			key, value, _ := strings.Cut(word, "=")
			n := 0
			for _, digit := range value {
				n = 10*n + int(digit-'0')
			}
			switch key {
			case "right":
				c.Right = true
			case "short":
				c.Short = func(cell string) string { return cell[:min(2, len(cell))] }
			case "omit":
				c.Omit = n
			case "fold":
				c.Fold = n
			case "lines":
				c.Lines = n
			default:
				if value != "" {
					t.Fatalf("unknown option %q", word)
				}
				c.Title = strings.TrimSpace(c.Title + " " + word)
			}
		}
		list = append(list, c)
	}
	return list
}

// What is written to a file has no colors and the default width, unless the environment or a flag
// says otherwise.
func TestFile(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Setenv("COLUMNS", "")
	t.Setenv("TERM", "xterm-256color")
	if layout.WidthOf(f) != layout.DefaultWidth || layout.Colors(f, layout.ColorAuto) || !layout.Colors(f, layout.ColorAlways) {
		t.Errorf("width %d, colors %v", layout.WidthOf(f), layout.Colors(f, layout.ColorAuto))
	}
	for columns, want := range map[string]int{"132": 132, "-1": layout.DefaultWidth, "x": layout.DefaultWidth, "1": 20} {
		if t.Setenv("COLUMNS", columns); layout.WidthOf(f) != want {
			t.Errorf("COLUMNS=%s: width %d, want %d", columns, layout.WidthOf(f), want)
		}
	}
	if err := layout.CheckColor("alwyas"); err == nil || !strings.Contains(err.Error(), `did you mean "always"?`) {
		t.Error(err)
	}
}

// A terminal has its own width, and colors unless the environment says that it has not.
func TestTerminal(t *testing.T) {
	control, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	defer tty.Close()
	if err := pty.Setsize(control, &pty.Winsize{Cols: 132, Rows: 50}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("COLUMNS", "40")
	if w := layout.WidthOf(tty); w != 132 {
		t.Errorf("width %d, want 132", w)
	}
	for _, tt := range []struct {
		term, noColor string
		want          bool
	}{{"xterm-256color", "", true}, {"linux", "", true}, {"xterm-256color", "1", false}, {"dumb", "", false}} {
		t.Setenv("TERM", tt.term)
		t.Setenv("NO_COLOR", tt.noColor)
		if got := layout.Colors(tty, layout.ColorAuto); got != tt.want {
			t.Errorf("TERM=%s NO_COLOR=%s: colors %v", tt.term, tt.noColor, got)
		}
		if !layout.Colors(tty, layout.ColorAlways) || layout.Colors(tty, layout.ColorNever) {
			t.Errorf("TERM=%s NO_COLOR=%s: the flag does not decide", tt.term, tt.noColor)
		}
	}
}

func TestRounded(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 7: "7", 0.05: "0.05", 1.5: "1.50", 12.34: "12.3", 99.96: "100", 999: "999", 999.4: "999", 999.6: "1.00k", 1000: "1.00k", 1234: "1.23k",
		9995: "10.0k", 99_960: "100k", 999_499: "999k", 999_500: "1.00M", 12_345_678: "12.3M", 2.5e9: "2.50G", 1 << 64: "18.4E",
	} {
		if got := layout.Rounded(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
