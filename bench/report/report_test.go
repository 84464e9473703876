package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	more := Table{Title: "Speed", Subjects: []string{"ours", "theirs", "others"}}
	if s := more.String(); s != "" {
		t.Errorf("without rows: %q", s)
	}
	more.Add("fast", []float64{12, 9, 30}, []float64{4, 4.5, 3}, nil)
	more.Add("slow", []float64{0.1234}, nil, []float64{0.1234, 100})
	less := Table{Title: "Time", Subjects: []string{"ours", "theirs"}, Less: true}
	less.Add("late", []float64{100, 50}, []float64{25, 100})
	plain := Table{Title: "Kicks", Subjects: []string{"ours", "theirs"}, Plain: true}
	plain.Add("few", []float64{0, 0}, []float64{1})
	want := `Speed:

| | ours | theirs | ours / theirs | others | ours / others |
|---|---|---|---|---|---|
| fast | 12.0 (9.00–30.0) | 4.00 (3.00–4.50) | **3.00 (2.00–10.0)** | - | - |
| slow | 0.12 (0.12–0.12) | - | - | 50.1 (0.12–100) | **1.00 (1.00–1.00)** |

Time:

| | ours | theirs | theirs / ours |
|---|---|---|---|
| late | 75.0 (50.0–100) | 62.5 (25.0–100) | **1.12 (0.25–2.00)** |

Kicks:

| | ours | theirs |
|---|---|---|
| few | 0.00 (0.00–0.00) | 1.00 (1.00–1.00) |

`
	if diff := cmp.Diff(want, more.String()+less.String()+plain.String()); diff != "" {
		t.Error(diff)
	}
}

func TestReplace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begin, end := marks("x")
	otherBegin, otherEnd := marks("y")
	other := otherBegin + "theirs\n" + otherEnd
	write(other + "before\n" + begin + "old\n" + end + "after\n")
	for _, text := range []string{"new\n", "newer\n"} {
		if err := Replace(file, "x", text); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if want := other + "before\n" + begin + "\n" + text + end + "after\n"; err != nil || string(b) != want {
			t.Errorf("%q, %v; want %q", b, err, want)
		}
	}
	write("no place\n" + begin)
	if err := Replace(file, "x", "x"); err == nil || !strings.Contains(err.Error(), "no place") {
		t.Errorf("error %v", err)
	}
}
