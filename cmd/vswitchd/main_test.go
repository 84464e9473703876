package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/vhostuser/vhostusertest"
)

// These tests run the program itself.

var program string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "vswitchd-test")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "vswitchd")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	return m.Run()
}

// write writes a configuration file in dir and returns its name.
func write(t *testing.T, dir, text string) string {
	t.Helper()
	file := filepath.Join(dir, "vswitchd.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// finish runs the program until it ends by itself.
func finish(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

const badConfig = `[switch]
workers = 0
[port.a]
tga = 3
[port.a]
`

func badConfigErrors(file string) string {
	return file + ":2: switch.workers: is 0, must be from 1 to 128\n" +
		file + ":4: port.a.tga: unknown key; did you mean \"tag\"?\n" +
		file + ":5: port.a: defined twice, first in line 3\n"
}

func TestEndsThatNeedNoSwitch(t *testing.T) {
	bad := write(t, t.TempDir(), badConfig)
	good := write(t, t.TempDir(), "[port.a]\n")
	noIf := write(t, t.TempDir(), "[uplink.lan]\ninterface = \"no-such-if\"\n")
	long := "/" + strings.Repeat("x", 107)
	for _, tt := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"--check --config " + good, 0, good + ": no errors\n", ""},
		{"--check --config " + bad, 1, "", badConfigErrors(bad)},
		{"--config " + bad, 2, "", badConfigErrors(bad)},
		{"--check --config " + noIf, 0, noIf + ": no errors\n",
			noIf + ":2: uplink.lan.interface: there is no network interface \"no-such-if\" now, the uplink will wait for it (warning)\n"},
		{"--check --uplink no-such-if --config " + bad, 1, "", badConfigErrors(bad)},
		{"--check --uplink no-such-if", 0, "the command line: no errors\n",
			"--uplink no-such-if: uplink.no-such-if.interface: there is no network interface \"no-such-if\" now, the uplink will wait for it (warning)\n"},
		{"--config /nonexistent", 2, "", "/nonexistent: cannot read the configuration: no such file or directory\n"},
		{"--check --config /nonexistent", 1, "", "/nonexistent: cannot read the configuration: no such file or directory\n"},
		{"--port a=" + long, 2, "", "--port a=" + long + ": port.a.socket: the path of the socket is 108 bytes long, at most 107 are possible\n"},
		{"--port a --port a", 2, "", "--port a: port.a: there is a port of this name already: port.a in --port a\n"},
		{"--log-level loud", 2, "", "--log-level loud: log.level: is \"loud\", must be one of \"trace\", \"debug\", \"info\", \"warn\", \"error\"\n"},
		{"--prot a", 2, "", "vswitchd: unknown flag: --prot; did you mean --port?\nTry vswitchd --help.\n"},
		{"--fd abc", 2, "", "vswitchd: --fd: is \"abc\", must be a whole number\nTry vswitchd --help.\n"},
		{"--fd", 2, "", "vswitchd: --fd: the value is missing\nTry vswitchd --help.\n"},
		{"--check=maybe", 2, "", "vswitchd: --check: is \"maybe\", must be true or false\nTry vswitchd --help.\n"},
		{"--log-level wran", 2, "", "--log-level wran: log.level: is \"wran\", must be one of \"trace\", \"debug\", \"info\", \"warn\", \"error\"; did you mean \"warn\"?\n"},
		{"--check --socket-path /no-such/x", 1, "", "--socket-path /no-such/x: port.net0.socket: there is no directory /no-such\n"},
		{"--check --control /no-such/x --port a=/tmp/vswitchd-test-nothing", 1, "", "--control /no-such/x: control.socket: there is no directory /no-such\n"},
		{"--bogus", 2, "", "vswitchd: unknown flag: --bogus\nTry vswitchd --help.\n"},
		{"extra", 2, "", "vswitchd: unexpected argument \"extra\"\nTry vswitchd --help.\n"},
		{"--config=", 2, "", "vswitchd: --config: the value is empty\nTry vswitchd --help.\n"},
		{"--fd 2", 2, "", "vswitchd: --fd 2: 0, 1 and 2 are the standard streams, and negative numbers no descriptors\nTry vswitchd --help.\n"},
		{"--fd 5 --socket-path /tmp/x", 2, "", "vswitchd: --fd and --socket-path exclude each other\nTry vswitchd --help.\n"},
		{"--bogus --print-capabilities", 0, "{\"type\":\"net\"}\n", ""},
	} {
		code, stdout, stderr := finish(t, strings.Fields(tt.args)...)
		if code != tt.code || stdout != tt.stdout || stderr != tt.stderr {
			t.Errorf("vswitchd %s: exit code %d\nstdout: %s\nstderr: %s\nwant %d\nstdout: %s\nstderr: %s",
				tt.args, code, stdout, stderr, tt.code, tt.stdout, tt.stderr)
		}
	}
}

// The file that describes the program to management software, as QEMU's
// docs/interop/vhost-user.json specifies, agrees with the output of --print-capabilities.
func TestDescription(t *testing.T) {
	b, err := os.ReadFile("../../qemu-examples/50-vswitchd.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Description, Type, Binary string }
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil || file.Description == "" || filepath.Base(file.Binary) != "vswitchd" {
		t.Errorf("%+v, %v", file, err)
	}
	var said struct{ Type string }
	if _, stdout, _ := finish(t, "--print-capabilities"); json.Unmarshal([]byte(stdout), &said) != nil || said.Type != file.Type {
		t.Errorf("type %q, and the file says %q", said.Type, file.Type)
	}
}

func TestVersionAndHelp(t *testing.T) {
	if code, stdout, _ := finish(t, "--version"); code != 0 || !strings.HasPrefix(stdout, "vswitchd ") {
		t.Errorf("--version: %d %s", code, stdout)
	}
	code, stdout, _ := finish(t, "--help")
	for _, flag := range []string{"config", "check", "port", "uplink", "control", "metrics", "status", "log-level", "log-format", "version", "print-capabilities", "socket-path", "fd"} {
		if code != 0 || !strings.Contains(stdout, "--"+flag+" ") {
			t.Errorf("--help: %d, --%s is missing:\n%s", code, flag, stdout)
		}
	}
}

// A process is a running vswitchd.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	log *bufio.Scanner // its standard error
}

// begin starts the program and waits for its readiness notification to systemd.
func begin(t *testing.T, args ...string) *process {
	t.Helper()
	return beginWith(t, nil, args...)
}

// beginWith is begin with a file, which may be nil, as descriptor 3 of the program.
func beginWith(t *testing.T, file *os.File, args ...string) *process {
	t.Helper()
	p, s := beginUnder(t, file, args...)
	s.Close()
	return p
}

// beginUnder is beginWith that also returns systemd's end of further notifications.
func beginUnder(t *testing.T, file *os.File, args ...string) (*process, systemd) {
	t.Helper()
	s := newSystemd(t)
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+s.LocalAddr().String())
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	p := spawn(t, cmd)
	if got := s.next(); got != "READY=1" {
		t.Fatalf("notification %q", got)
	}
	return p, s
}

// spawn starts the program, which is killed when the test ends.
func spawn(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.log = bufio.NewScanner(stderr)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return p
}

// waitFor reads the log up to a line that contains text.
func (p *process) waitFor(text string) {
	p.t.Helper()
	var lines []string
	for p.log.Scan() {
		lines = append(lines, p.log.Text())
		if strings.Contains(p.log.Text(), text) {
			return
		}
	}
	p.t.Fatalf("no %q in the log:\n%s", text, strings.Join(lines, "\n"))
}

// end sends a signal and returns the exit code.
func (p *process) end(s os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	return p.wait()
}

// wait waits for the end of the program and returns its exit code.
func (p *process) wait() int {
	for p.log.Scan() {
	}
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// passed returns a front-end and the other end of its connection as a file.
func passed(t *testing.T) (*vhostusertest.FrontEnd, *os.File) {
	t.Helper()
	front, conn, err := vhostusertest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	file, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return front, file
}

// If vswitchd is started with a connected socket, it ends with the connection.
func TestEndsWithTheConnectionThatItWasGiven(t *testing.T) {
	front, file := passed(t)
	p := beginWith(t, file, "--fd", "3")
	if err := front.Handshake(0, 0); err != nil {
		t.Error(err)
	}
	front.Close()
	if code := p.wait(); code != 0 {
		t.Errorf("the front-end has left: exit code %d", code)
	}

	front, file = passed(t)
	p = beginWith(t, file, "--fd", "3")
	if err := front.Write(make([]byte, 12)); err != nil {
		t.Error(err)
	}
	p.waitFor("port net0: malformed message")
	if code := p.wait(); code != 1 {
		t.Errorf("the front-end has sent nonsense: exit code %d", code)
	}
}

// If there is another port for guests, it continues.
func TestOtherGuestsOutliveTheConnectionThatItWasGiven(t *testing.T) {
	front, file := passed(t)
	dir := t.TempDir()
	ctl := filepath.Join(dir, "c")
	p := beginWith(t, file, "--fd", "3", "--control", ctl, "--port", "a="+filepath.Join(dir, "a.sock"))
	front.Close()
	p.waitFor("no front-end can connect any more")
	body, err := control.NewClient(ctl).Get(t.Context(), "/v1/ports/net0")
	if err != nil || !strings.Contains(string(body), `"state":"error"`) || !strings.Contains(string(body), "the connection that was passed in has ended") {
		t.Errorf("%s, %v", body, err)
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestSignalsStopItCleanly(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		dir := t.TempDir()
		ctl := filepath.Join(dir, "control.sock")
		p := begin(t, "--control", ctl, "--port", "a="+filepath.Join(dir, "a.sock"))
		if _, err := control.NewClient(ctl).Get(t.Context(), "/v1/ports/a"); err != nil {
			t.Error(err)
		}
		if code := p.end(s); code != 0 {
			t.Errorf("%v: exit code %d", s, code)
		}
		for _, socket := range []string{ctl, filepath.Join(dir, "a.sock")} {
			if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v: %s is still there", s, socket)
			}
		}
	}
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	ctl := filepath.Join(dir, "control.sock")
	head := "[control]\nsocket = \"" + ctl + "\"\n[switch]\nsocket_dir = \"" + dir + "\"\n"
	file := write(t, dir, head+"[port.a]\n")
	p := begin(t, "--config", file)
	client := control.NewClient(ctl)

	// Errors: nothing changes, every reason is logged and returned.
	write(t, dir, head+"[port.b]\ntag = -1\nqueues = 0\n")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.waitFor(file + ":6: port.b.tag: is -1, must be from 0 to 4095")
	p.waitFor(file + ":7: port.b.queues: is 0, must be from 1 to 128")
	if _, err := client.Post(t.Context(), "/v1/reload"); err == nil || !strings.Contains(err.Error(), file+":7: port.b.queues") {
		t.Errorf("reload of a bad file: %v", err)
	}
	if _, err := client.Get(t.Context(), "/v1/ports/a"); err != nil {
		t.Errorf("after a refused reload: %v", err)
	}

	// What cannot change without a restart.
	write(t, dir, head+"[log]\nformat = \"json\"\n[port.a]\n")
	if _, err := client.Post(t.Context(), "/v1/reload"); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("reload of a fixed value: %v", err)
	}

	// What can.
	write(t, dir, head+"[log]\nlevel = \"warn\"\n[port.a]\n")
	if body, err := client.Post(t.Context(), "/v1/reload"); err != nil || !strings.Contains(string(body), "log.level: info -\\u003e warn") {
		t.Errorf("reload: %s %v", body, err)
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestASecondDaemonTouchesNothing(t *testing.T) {
	dir := t.TempDir()
	ctl := filepath.Join(dir, "control.sock")
	port := "a=" + filepath.Join(dir, "a.sock")
	first := begin(t, "--control", ctl, "--port", port)
	code, _, stderr := finish(t, "--control", ctl, "--port", port)
	if code != 1 || !strings.Contains(stderr, "socket is in use by another process") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if _, err := control.NewClient(ctl).Get(t.Context(), "/v1/switch"); err != nil {
		t.Errorf("the first one does not answer any more: %v", err)
	}
	if code := first.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestAKilledDaemonsSocketIsReplaced(t *testing.T) {
	dir := t.TempDir()
	ctl := filepath.Join(dir, "control.sock")
	port := "a=" + filepath.Join(dir, "a.sock")
	begin(t, "--control", ctl, "--port", port).end(syscall.SIGKILL)
	p := begin(t, "--control", ctl, "--port", port)
	if _, err := control.NewClient(ctl).Get(t.Context(), "/v1/switch"); err != nil {
		t.Error(err)
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestLogFormatJSON(t *testing.T) {
	dir := t.TempDir()
	p := begin(t, "--control", filepath.Join(dir, "c"), "--port", "a="+filepath.Join(dir, "a.sock"), "--log-format", "json")
	p.waitFor(`"@message":"started"`)
	if code := p.end(syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestMetrics(t *testing.T) {
	// A port that was free a moment ago: the program cannot tell which one it took.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	dir := t.TempDir()
	args := []string{"--control", filepath.Join(dir, "c"), "--port", "a=" + filepath.Join(dir, "a.sock"), "--metrics", addr}
	if code, _, stderr := finish(t, args...); code != 1 || !strings.Contains(stderr, "address already in use") {
		t.Errorf("address in use: exit code %d: %s", code, stderr)
	}
	l.Close()
	p := begin(t, args...)
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	for _, want := range []string{
		`vswitchd_port_up{port="a"} 0`,
		`vswitchd_port_drops_total{port="a",reason="ring-full"} 0`,
		`vswitchd_port_resets_total{port="a",reason="died"} 0`,
	} {
		if err != nil || !strings.Contains(string(body), "\n"+want+"\n") {
			t.Errorf("%v: %s is missing in %s", err, want, body)
		}
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
