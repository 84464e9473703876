//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/test/swtest"
	"vswitchd/vhostuser/vhostusertest"
)

// shortDir makes a directory whose name leaves room for that of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vswitchd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestConfigErrors wants all errors of a file, each in a line with its place and key.
func TestConfigErrors(t *testing.T) {
	dir := shortDir(t)
	file := writeFile(t, filepath.Join(dir, "bad.toml"), `[switch]
workers = "two"
mac_aging_time = "-1s"
socket_dir = "`+dir+`"
colour = "red"
[port.a]
tag = 5000
socket = "`+dir+"/"+strings.Repeat("x", 108)+`"
[port.a-name-that-is-too-long]
[port.b]
mac = "01:00:5e:00:00:01"
vlan_mode = "sideways"
socket = "`+dir+`/same.sock"
[port.c]
socket = "`+dir+`/same.sock"
queues = 1000
[port.a]
[uplink.lan]
interface = "no-such-if"
[[fdb]]
mac = "52:54:00:00:00:01"
port = "nobody"
`)
	want := []string{
		":2: switch.workers: ",
		":3: switch.mac_aging_time: ",
		":5: switch.colour: unknown key",
		":7: port.a.tag: ",
		":8: port.a.socket: the path of the socket is ",
		":9: port.a-name-that-is-too-long: ",
		":11: port.b.mac: ",
		":12: port.b.vlan_mode: ",
		":15: port.c.socket: ",
		":16: port.c.queues: ",
		":17: port.a: defined twice, first in line 6",
		":22: fdb[0].port: ",
	}
	for _, run := range []struct {
		args []string
		code int
	}{
		{[]string{"--config", file}, 2},
		{[]string{"--config", file, "--check"}, 1},
	} {
		code, stdout, stderr := swtest.Exec(t, nil, nil, run.args...)
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		if code != run.code || stdout != "" || len(lines) != len(want) {
			t.Errorf("%v: status %d, %d lines, want %d; stdout %q, stderr:\n%s", run.args, code, len(lines), len(want), stdout, stderr)
			continue
		}
		for i, w := range want {
			if !strings.HasPrefix(lines[i], file+w) {
				t.Errorf("%v: line %d is %q, want %q", run.args, i+1, lines[i], file+w)
			}
		}
	}
	if left, _ := filepath.Glob(dir + "/*.sock"); left != nil {
		t.Errorf("sockets were made: %v", left)
	}
}

// TestOneClearLine is about errors that an operator meets one at a time.
func TestOneClearLine(t *testing.T) {
	dir := shortDir(t)
	long := dir + "/" + strings.Repeat("x", 107-len(dir)) // 108 bytes
	file := filepath.Join(dir, "vswitchd.toml")
	head := "[control]\nsocket = \"" + dir + "/control\"\n[switch]\nsocket_dir = \"" + dir + "\"\n"
	for _, c := range []struct {
		name, config string
		args         []string
		want         []string // what the line has to tell
	}{
		{"socket path too long", "[port.a]\nsocket = \"" + long + "\"\n", nil, []string{file + ":6: port.a.socket: ", "108 bytes", "107"}},
		{"default socket path too long", "socket_dir = \"" + long + "\"\n[port.a]\n", nil, []string{"port.a.socket: ", "107"}},
		{"socket path too long, by flag", "", []string{"--port", "a=" + long}, []string{"--port a=" + long, "108 bytes", "107"}},
		{"control socket path too long", "", []string{"--control", long}, []string{"--control " + long, "108 bytes", "107"}},
		{"port twice", "[port.a]\n[port.b]\n[port.a]\n", nil, []string{file + ":7: port.a: ", "twice", "line 5"}},
		{"port and uplink of one name", "[port.a]\n[uplink.a]\ninterface = \"lo\"\n", nil, []string{"a: ", "already"}},
		{"port twice, by flag", "[port.a]\n", []string{"--port", "a"}, []string{"--port a: port.a: ", "already", file + ":5"}},
		{"misspelt key", "[port.a]\nqueue = 2\n", nil, []string{file + ":6: port.a.queue: unknown key", "queues"}},
		{"no TOML", "[port.a\n", nil, []string{file + ":5: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := head + c.config
			if strings.HasPrefix(c.config, "socket_dir") {
				text = strings.Replace(head, "socket_dir = \""+dir+"\"\n", "", 1) + c.config
			}
			args := append([]string{"--config", writeFile(t, file, text)}, c.args...)
			code, stdout, stderr := swtest.Exec(t, nil, nil, args...)
			if code != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 {
				t.Errorf("status %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			for _, w := range c.want {
				if !strings.Contains(stderr, w) {
					t.Errorf("stderr has no %q: %s", w, stderr)
				}
			}
		})
	}
}

// TestMissingPrivilege starts vswitchd without CAP_NET_RAW.
func TestMissingPrivilege(t *testing.T) {
	ns := swtest.NewNetns(t)
	swtest.NewVeth(t, ns, "nic0", ns, "far0")
	dir := shortDir(t)
	code, _, stderr := swtest.Exec(t, ns, []string{"setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"},
		"--control", dir+"/control", "--port", "a="+dir+"/a.sock", "--uplink", "nic0")
	if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "CAP_NET_RAW") || !strings.Contains(stderr, "nic0") {
		t.Errorf("status %d: %s", code, stderr)
	}
	t.Log(strings.TrimSpace(stderr))
	if left, _ := filepath.Glob(dir + "/*"); left != nil {
		t.Errorf("left: %v", left)
	}

	// A switch of guests alone does not need it.
	file := writeFile(t, filepath.Join(dir, "f"), "[port.a]\n")
	code, _, stderr = swtest.Exec(t, ns, []string{"setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"}, "--check", "--config", file)
	if code != 0 {
		t.Errorf("status %d: %s", code, stderr)
	}
}

// TestSocketsOfOthers: sockets in use are left alone, those that nobody uses are replaced, and
// nothing but sockets ever is.
func TestSocketsOfOthers(t *testing.T) {
	s := swtest.Start(t, nil, "[port.a]\n")
	dir := shortDir(t)
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"port":    {[]string{"--control", dir + "/control", "--port", "x=" + s.Socket("a")}, []string{"port x", s.Socket("a"), "in use"}},
		"control": {[]string{"--control", s.ControlSocket(), "--port", "x=" + dir + "/x.sock"}, []string{s.ControlSocket(), "in use by another process"}},
		"file":    {[]string{"--control", dir + "/control", "--port", "x=" + s.ConfigFile()}, []string{"port x", s.ConfigFile(), "not a socket"}},
	} {
		code, _, stderr := swtest.Exec(t, nil, nil, c.args...)
		if code != 1 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d: %s", name, code, stderr)
		}
		for _, w := range c.want {
			if !strings.Contains(stderr, w) {
				t.Errorf("%s: no %q: %s", name, w, stderr)
			}
		}
		if left, _ := filepath.Glob(dir + "/*"); left != nil {
			t.Errorf("%s: left: %v", name, left)
		}
	}
	if _, err := os.Stat(s.ConfigFile()); err != nil {
		t.Error(err)
	}
	// The one that is running has not noticed.
	visit(t, s, "a", s.Socket("a"))

	s.Kill()
	for _, socket := range []string{s.Socket("a"), s.ControlSocket()} {
		if _, err := os.Lstat(socket); err != nil {
			t.Error("a process that was killed cannot have removed its socket:", err)
		}
	}
	s.Launch(t)
	visit(t, s, "a", s.Socket("a"))
}

// visit has a guest come to a port and go.
func visit(t *testing.T, s *swtest.Switch, port, socket string) {
	t.Helper()
	g, err := station.Connect(socket, station.Config{MAC: station.Addr(9)})
	if err != nil {
		t.Fatal(err)
	}
	s.WaitState(t, port, control.StateRunning)
	if err := g.Leave(); err != nil {
		t.Error(err)
	}
}

// TestSignalsStop: SIGTERM and SIGINT end vswitchd in good order, guests or no guests.
func TestSignalsStop(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := swtest.Start(t, nil, "[port.a]\n[port.b]\n")
		g, err := station.Connect(s.Socket("a"), station.Config{MAC: station.Addr(1)})
		if err != nil {
			t.Fatal(err)
		}
		s.WaitState(t, "a", control.StateRunning)
		s.Signal(t, sig)
		if code := s.Wait(); code != 0 {
			t.Errorf("%v: status %d", sig, code)
		}
		for _, socket := range []string{s.Socket("a"), s.Socket("b"), s.ControlSocket()} {
			if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v: %s is left: %v", sig, socket, err)
			}
		}
		if err := g.FrontEnd().WaitClosed(); err != nil {
			t.Errorf("%v: %v", sig, err)
		}
		g.Die()
	}
}

// quietNetns makes a namespace in which interfaces say nothing by themselves.
func quietNetns(t *testing.T) *swtest.Netns {
	t.Helper()
	ns := swtest.NewNetns(t)
	ns.Run(t, "sh", "-c", "for f in all default; do echo 1 >/proc/sys/net/ipv6/conf/$f/disable_ipv6; done")
	return ns
}

// TestFlagsAlone joins two switches, without a configuration file between them, by a veth, and has
// their guests talk.
func TestFlagsAlone(t *testing.T) {
	nsA, nsB := quietNetns(t), quietNetns(t)
	swtest.NewVeth(t, nsA, "nic0", nsB, "nic0")
	var guests []*station.Station
	for i, ns := range []*swtest.Netns{nsA, nsB} {
		s := swtest.StartFlags(t, ns, "--port", "vm=$DIR/vm.sock", "--uplink", "nic0")
		g, err := station.Connect(s.Socket("vm"), station.Config{MAC: station.Addr(byte(i + 1))})
		if err != nil {
			t.Fatal(err)
		}
		guests = append(guests, g)
		s.WaitState(t, "vm", control.StateRunning)
		s.WaitState(t, "nic0", control.StateRunning)
	}
	a, b := guests[0], guests[1]
	a.Talk(b.MAC(), 8)
	b.Talk(a.MAC(), 8)
	a.Talk(station.Broadcast, 2, b.MAC())
	a.Start()
	b.Start()
	for _, g := range guests {
		if err := g.Await(2000); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range guests {
		if err := g.Drain(); err != nil {
			t.Error(err)
		}
	}
	for _, g := range guests {
		if err := g.Leave(); err != nil {
			t.Error(err)
		}
	}
}

// TestBackendProgram starts vswitchd in the ways of vhost-user's back-end program conventions.
func TestBackendProgram(t *testing.T) {
	t.Run("--print-capabilities", func(t *testing.T) {
		code, stdout, stderr := swtest.Exec(t, nil, nil, "--print-capabilities")
		var v struct {
			Type     string   `json:"type"`
			Features []string `json:"features"`
		}
		dec := json.NewDecoder(strings.NewReader(stdout))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&v); code != 0 || err != nil || v.Type != "net" || stderr != "" {
			t.Errorf("status %d, %v: %s%s", code, err, stdout, stderr)
		}
	})
	t.Run("--socket-path", func(t *testing.T) {
		s := swtest.StartFlags(t, nil, "--socket-path", "$DIR/one.sock")
		if ports := s.Info(t).Ports; len(ports) != 1 {
			t.Fatalf("ports: %+v", ports)
		}
		g, err := station.Connect(s.Socket("one"), station.Config{MAC: station.Addr(1)})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Leave(); err != nil {
			t.Error(err)
		}
	})
	for _, kind := range []string{"listening", "connected"} {
		t.Run("--fd, "+kind, func(t *testing.T) { inherited(t, kind == "connected") })
	}
}

// inherited hands vswitchd a socket that is open.
func inherited(t *testing.T, connected bool) {
	path := filepath.Join(shortDir(t), "sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type filer interface{ File() (*os.File, error) }
	give := filer(l)
	var front *net.UnixConn
	dial := func() {
		if front, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path}); err != nil {
			t.Fatal(err)
		}
	}
	if connected {
		dial()
		back, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		defer back.Close()
		give = back
	}
	f, err := give.File()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd := exec.Command(swtest.Program(t), "--fd", "3")
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	f.Close()
	if !connected {
		dial()
	}
	g, err := station.New(vhostusertest.New(front), station.Config{MAC: station.Addr(1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Leave(); err != nil {
		t.Error(err)
	}
	if !connected {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	} // else there is nobody who could come
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &log)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("a socket that was passed in is not vswitchd's to remove: %v", err)
	}
}
