package progress

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// run takes 20 steps of a minute each, one of which fails, and two of which are not taken.
func run(width int) string {
	var out strings.Builder
	now := time.Unix(0, 0)
	l := newLine(&out, width, "measuring", 22, 50*time.Second, func() time.Time { return now })
	l.Skip(2)
	for i := range 20 {
		l.Step(fmt.Sprintf("round %d", i))
		if i == 12 {
			l.Print("%s has failed", "it")
		}
		now = now.Add(time.Minute)
	}
	l.End()
	return out.String()
}

func TestTerminal(t *testing.T) {
	got := run(40)
	for _, want := range []string{
		"measuring: 22 steps, about 18m\n\r\x1b[K1 of 20: round 0\r\x1b[K2 of 20, about 19m left: round 1\r", "\r\x1b[K13 of 20, about 8m left: round 12\r\x1b[Kit has failed\n\r\x1b[K14 of 20",
		"20 of 20, about 1m0s left: round 19\r\x1b[Kdone after 20m\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	for _, line := range strings.Split(run(20), "\r\x1b[K")[1:] {
		if text := strings.SplitN(line, "\n", 2)[0]; len([]rune(text)) >= 20 {
			t.Errorf("%q is too long", text)
		}
	}
}

func TestLog(t *testing.T) {
	got := strings.Split(strings.TrimSpace(run(0)), "\n")
	if len(got) != 12 || strings.Contains(run(0), "\x1b") {
		t.Errorf("%d lines: %q", len(got), got)
	}
	if got[1] != "10 %, about 18m left" || got[len(got)-1] != "done after 20m" {
		t.Errorf("%q", got)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 9600 * time.Millisecond: "10s", 90 * time.Second: "1m30s", 150 * time.Second: "3m", time.Hour: "1h0m"} {
		if got := duration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
