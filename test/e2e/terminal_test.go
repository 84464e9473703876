//go:build e2e

package e2e

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"vswitchd/test/child"
	"vswitchd/test/swtest"
)

// A terminal is a pseudo-terminal with an emulator of a screen, on which a process runs.
type terminal struct {
	screen  *vt.SafeEmulator
	control *os.File // the emulator's side
	tty     *os.File // the process's side
	process *child.Process
	before  unix.Termios // how the terminal was before the process began
}

func startOnTerminal(t *testing.T, cmd *exec.Cmd, width, height int) *terminal {
	t.Helper()
	control, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{screen: vt.NewSafeEmulator(width, height), control: control, tty: tty}
	x.resize(t, width, height)
	x.before = x.modes(t)
	go func() { _, _ = io.Copy(x.screen, control) }() // until the terminal is closed
	go func() { _, _ = io.Copy(control, x.screen) }() // what the emulator answers to queries
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if x.process, err = child.Start(cmd, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		x.process.Kill()
		tty.Close()
		control.Close()
		_ = x.screen.Close()
	})
	return x
}

func (x *terminal) modes(t *testing.T) unix.Termios {
	t.Helper()
	modes, err := unix.IoctlGetTermios(int(x.tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *modes
}

func (x *terminal) resize(t *testing.T, width, height int) {
	t.Helper()
	x.screen.Resize(width, height)
	if err := pty.Setsize(x.control, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		t.Fatal(err)
	}
}

// keys types text.
func (x *terminal) keys(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(x.control, text); err != nil {
		t.Fatal(err)
	}
}

// lines returns what is on the screen, without blanks at the ends of lines.
func (x *terminal) lines() []string {
	lines := strings.Split(ansi.Strip(x.screen.Render()), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \r")
	}
	return lines
}

// waitFor waits until what is on the screen is as it should be.
func (x *terminal) waitFor(t *testing.T, what string, is func(lines []string) bool) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("on the terminal:\n%s", strings.Join(x.lines(), "\n"))
		}
	}()
	swtest.Until(t, what, func() bool { return is(x.lines()) })
}

// waitText waits until a text is on the screen.
func (x *terminal) waitText(t *testing.T, text string) {
	t.Helper()
	x.waitFor(t, text+" is on the terminal", func(lines []string) bool { return strings.Contains(strings.Join(lines, "\n"), text) })
}

// ends waits for the process to exit with a code, and requires that the terminal is as before.
func (x *terminal) ends(t *testing.T, code int) {
	t.Helper()
	if got := x.process.State().ExitCode(); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	if after := x.modes(t); after != x.before {
		t.Errorf("the terminal's modes are %+v, were %+v", after, x.before)
	}
	x.waitFor(t, "the terminal shows what was there before, with a cursor", func([]string) bool {
		return !x.screen.IsAltScreen() && !x.screen.CursorHidden()
	})
}
