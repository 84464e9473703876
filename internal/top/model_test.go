package top

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/cockroachdb/datadriven"

	"vswitchd/internal/control"
)

// The files of testdata are sessions: readings of counters, time that passes, keys and sizes of the
// terminal, and what is on the terminal then.
//
//	read up=SECONDS [run=N] [busy=(SECONDS,...)] [sort=COLUMN] [filter=TEXT] [count=N]
//	NAME KIND STATE RX-FRAMES RX-BYTES TX-FRAMES TX-BYTES [REASON=DROPS]...
//
// The first reading begins the session. "fail" is a reading that fails, and "silence" the time for
// which a reading has had no answer.
func TestScreen(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := session{t: t}
		datadriven.RunTest(t, path, s.run)
	})
}

type session struct {
	t    *testing.T
	m    *model
	quit bool
}

func (s *session) run(t *testing.T, td *datadriven.TestData) string {
	switch td.Cmd {
	case "read":
		info := readingOf(t, td)
		if s.m == nil {
			s.m = newModel(configOf(t, td), info, td.HasArg("colors"))
		} else {
			s.update(reading{info: info})
		}
		return ""
	case "fail":
		s.update(reading{err: errors.New("vswitchd is not running: there is no socket /s")})
	case "silence":
		s.m.asked = time.Unix(100, 0)
		seconds, _ := strconv.Atoi(td.CmdArgs[0].Key)
		s.update(tick(time.Unix(100+int64(seconds), 0)))
	case "size":
		var w, h int
		if _, err := fmt.Sscanf(td.CmdArgs[0].Key, "%dx%d", &w, &h); err != nil {
			t.Fatal(err)
		}
		s.update(tea.WindowSizeMsg{Width: w, Height: h})
	case "keys":
		for _, arg := range td.CmdArgs {
			s.update(tea.KeyPressMsg(keyOf(arg.Key)))
		}
	case "screen":
	default:
		t.Fatalf("unknown command %s", td.Cmd)
	}
	return s.screen()
}

func (s *session) update(msg tea.Msg) {
	_, cmd := s.m.Update(msg)
	if _, is := msg.(tick); is || cmd == nil {
		return
	}
	_, quits := cmd().(tea.QuitMsg)
	s.quit = s.quit || quits
}

// screen returns what is on the terminal, which has room for all of it.
func (s *session) screen() string {
	if s.quit {
		return "(quit)\n"
	}
	content := s.m.View().Content
	lines := strings.Split(content, "\n")
	if len(lines) > s.m.height {
		s.t.Errorf("%d lines on a terminal of %d:\n%s", len(lines), s.m.height, content)
	}
	var b strings.Builder
	for _, line := range lines {
		if n := ansi.StringWidth(line); n > s.m.width {
			s.t.Errorf("%d columns on a terminal of %d: %s", n, s.m.width, line)
		}
		fmt.Fprintf(&b, "%s|\n", strings.ReplaceAll(line, "\x1b", "ESC"))
	}
	return b.String()
}

func keyOf(name string) tea.Key {
	special := map[string]tea.Key{
		"up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown}, "home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd},
		"left": {Code: tea.KeyLeft}, "right": {Code: tea.KeyRight}, "enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "backspace": {Code: tea.KeyBackspace},
		"ctrl+c": {Code: 'c', Mod: tea.ModCtrl}, "ctrl+u": {Code: 'u', Mod: tea.ModCtrl},
	}
	if key, ok := special[name]; ok {
		return key
	}
	return tea.Key{Code: []rune(name)[0], Text: name}
}

func configOf(t *testing.T, td *datadriven.TestData) *Config {
	cfg, by := &Config{Interval: time.Second}, "name"
	td.MaybeScanArgs(t, "sort", &by)
	td.MaybeScanArgs(t, "filter", &cfg.Filter)
	td.MaybeScanArgs(t, "count", &cfg.Count)
	var err error
	if cfg.Order, err = ParseOrder(by, td.HasArg("reverse")); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func readingOf(t *testing.T, td *datadriven.TestData) *control.SwitchInfo {
	var up int
	td.ScanArgs(t, "up", &up)
	info := &control.SwitchInfo{}
	info.Version, info.Started, info.UptimeS, info.UptimeNS = "1.2.3", "1", int64(up), int64(up)*int64(time.Second)
	td.MaybeScanArgs(t, "run", &info.Started)
	for _, arg := range td.CmdArgs {
		if arg.Key == "busy" {
			for _, val := range arg.Vals {
				seconds, _ := strconv.ParseFloat(val, 64)
				info.Workers = append(info.Workers, control.Worker{CPU: -1, BusyS: seconds})
			}
		}
	}
	for line := range strings.Lines(td.Input) {
		info.Ports = append(info.Ports, portsOf(t, strings.Fields(line))...)
	}
	return info
}

// portsOf returns the ports that a line describes: one, or 256 if the name ends in "*".
func portsOf(t *testing.T, words []string) []control.PortStats {
	p := control.PortStats{Name: words[0], Kind: control.Kind(words[1]), State: control.State(words[2])}
	p.Counters.Drops = control.Tally{}
	for i, field := range []*uint64{&p.Counters.RxFrames, &p.Counters.RxBytes, &p.Counters.TxFrames, &p.Counters.TxBytes} {
		n, err := strconv.ParseUint(words[3+i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		*field = n
	}
	for _, word := range words[7:] {
		reason, n, _ := strings.Cut(word, "=")
		p.Counters.Drops[reason], _ = strconv.ParseUint(n, 10, 64)
	}
	stem, many := strings.CutSuffix(p.Name, "*")
	if !many {
		return []control.PortStats{p}
	}
	list := make([]control.PortStats, 256)
	for i := range list {
		list[i] = p
		list[i].Name = fmt.Sprintf("%s%03d", stem, i)
		list[i].Counters.RxFrames *= uint64(i)
	}
	return list
}
