package swtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vswitchd/internal/control"
	"vswitchd/test/child"
)

// A Switch is a vswitchd process.
type Switch struct {
	Dir   string // of its sockets, its configuration and its log
	netns *Netns
	args  []string
	api   *control.Client

	process *child.Process // nil: it was never started
}

// Start writes a configuration file and starts vswitchd with it, in a namespace (nil: that of the
// test). Start writes the first sections of the configuration; config follows with ports and
// uplinks, or more keys of [switch], which comes last. Start returns when the control API answers.
func Start(t testing.TB, netns *Netns, config string) *Switch {
	t.Helper()
	return StartWith(t, netns, config)
}

// StartWith is Start with more arguments for vswitchd.
func StartWith(t testing.TB, netns *Netns, config string, args ...string) *Switch {
	t.Helper()
	s := newSwitch(t, netns)
	s.args = append([]string{"--config", s.ConfigFile()}, args...)
	s.Configure(t, config)
	s.Launch(t)
	return s
}

// StartFlags starts vswitchd without a configuration file. In args, $DIR stands for Dir, where the
// control socket is made as well.
func StartFlags(t testing.TB, netns *Netns, args ...string) *Switch {
	t.Helper()
	s := newSwitch(t, netns)
	s.args = []string{"--control", s.ControlSocket(), "--log-level", "debug"}
	for _, a := range args {
		s.args = append(s.args, strings.ReplaceAll(a, "$DIR", s.Dir))
	}
	s.Launch(t)
	return s
}

func newSwitch(t testing.TB, netns *Netns) *Switch {
	t.Helper()
	dir, err := os.MkdirTemp("", "vswitchd-")
	if err != nil {
		t.Fatal(err)
	}
	s := &Switch{Dir: dir, netns: netns}
	s.api = control.NewClient(s.ControlSocket())
	t.Cleanup(func() {
		if t.Failed() {
			s.logCounters(t)
		}
		s.Kill()
		if t.Failed() {
			t.Logf("vswitchd's log:\n%s", s.Log())
		}
		os.RemoveAll(dir)
	})
	return s
}

// logCounters logs what each port has counted, if the process can still say so.
func (s *Switch) logCounters(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	raw, err := s.api.Get(ctx, "/v1/ports")
	if err != nil {
		return
	}
	var ports []control.PortInfo
	if err := json.Unmarshal(raw, &ports); err != nil {
		t.Logf("ports: %v: %s", err, raw)
	}
	for _, p := range ports {
		t.Logf("port %s is %s: %+v", p.Name, p.State, p.Counters)
	}
}

// Configure writes the configuration file anew, as Start does. The process reads it at the next
// SIGHUP or Launch.
func (s *Switch) Configure(t testing.TB, config string) {
	t.Helper()
	whole := fmt.Sprintf("[log]\nlevel = \"debug\"\n[control]\nsocket = %q\n[switch]\nsocket_dir = %q\n%s", s.ControlSocket(), s.Dir, config)
	if err := os.WriteFile(s.ConfigFile(), []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ConfigFile is where the configuration is.
func (s *Switch) ConfigFile() string { return filepath.Join(s.Dir, "vswitchd.toml") }

// ControlSocket is where the control API is served.
func (s *Switch) ControlSocket() string { return filepath.Join(s.Dir, "control.sock") }

// Socket is a port's.
func (s *Switch) Socket(port string) string { return filepath.Join(s.Dir, port+".sock") }

// Launch starts the process, which must not be running, and returns when its control API answers.
func (s *Switch) Launch(t testing.TB) {
	t.Helper()
	s.process = s.begin(t)
	Until(t, "vswitchd answers", func() bool {
		select {
		case <-s.process.Exited():
			t.Fatalf("vswitchd has exited: %v\n%s", s.process.State(), s.Log())
		default:
		}
		_, err := s.get("/v1/switch")
		return err == nil
	})
}

// begin starts a process, with more arguments than those of all.
func (s *Switch) begin(t testing.TB, more ...string) *child.Process {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := s.netns.Command(Program(t), slices.Concat(s.args, more)...)
	cmd.Stderr = log
	p, err := child.Start(cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TakeOver starts another process, which takes over from the one that runs, and returns when that
// has ended.
func (s *Switch) TakeOver(t testing.TB) {
	t.Helper()
	before := s.process
	after := s.begin(t, "--takeover")
	select {
	case <-before.Exited():
	case <-after.Exited():
		t.Fatalf("the new vswitchd has exited: %v", after.State())
	case <-time.After(time.Minute):
		after.Kill()
		t.Fatal("after a minute, the old vswitchd still runs")
	}
	s.process = after
	if code := before.State().ExitCode(); code != 0 {
		t.Fatalf("the old vswitchd has exited with %d", code)
	}
}

// Kill ends the process with SIGKILL.
func (s *Switch) Kill() {
	if s.process != nil {
		s.process.Kill()
	}
}

// Signal sends the process a signal.
func (s *Switch) Signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := s.process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// Wait waits for the process to exit and returns its status.
func (s *Switch) Wait() int {
	return s.process.State().ExitCode()
}

// Log is what the process has logged, over all its launches.
func (s *Switch) Log() string {
	b, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
	return string(b)
}

// WaitLog waits until text is in the log, from a byte of it on (an earlier len of Log), and returns
// the line that it is in.
func (s *Switch) WaitLog(t testing.TB, from int, text string) (line string) {
	t.Helper()
	Until(t, fmt.Sprintf("%q is in the log", text), func() bool {
		for l := range strings.Lines(s.Log()[from:]) {
			if strings.Contains(l, text) {
				line = strings.TrimSpace(l)
				return true
			}
		}
		return false
	})
	return line
}

func (s *Switch) get(path string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return s.api.Get(ctx, path)
}

func get[T any](t testing.TB, s *Switch, path string) (v T) {
	t.Helper()
	raw, err := s.get(path)
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		t.Fatalf("%s: %v\nvswitchd's log:\n%s", path, err, s.Log())
	}
	return v
}

// Port returns all that the control API tells of a port.
func (s *Switch) Port(t testing.TB, name string) control.PortDetail {
	t.Helper()
	return get[control.PortDetail](t, s, "/v1/ports/"+name)
}

// Captures returns the captures that run.
func (s *Switch) Captures(t testing.TB) []control.Capture {
	t.Helper()
	return get[[]control.Capture](t, s, "/v1/captures")
}

// Info returns what the control API tells of the switch.
func (s *Switch) Info(t testing.TB) control.SwitchInfo {
	t.Helper()
	return get[control.SwitchInfo](t, s, "/v1/switch")
}

// FDB returns the FDB.
func (s *Switch) FDB(t testing.TB) []control.FDBEntry {
	t.Helper()
	return get[[]control.FDBEntry](t, s, "/v1/fdb")
}

// Filter returns a filter with the counters of its rules.
func (s *Switch) Filter(t testing.TB, name string) control.Filter {
	t.Helper()
	return get[control.Filter](t, s, "/v1/filters/"+name)
}

// AddToSet adds addresses to a set of filters.
func (s *Switch) AddToSet(t testing.TB, set string, addresses ...string) {
	t.Helper()
	change := control.SetChange{Add: &control.SetEntries{Addresses: addresses}}
	if _, err := s.api.Patch(t.Context(), "/v1/sets/"+set, change); err != nil {
		t.Fatal(err)
	}
}

// Neighbors returns the neighbor table.
func (s *Switch) Neighbors(t testing.TB) []control.Neighbor {
	t.Helper()
	return get[[]control.Neighbor](t, s, "/v1/neigh")
}

// MDB returns the multicast database.
func (s *Switch) MDB(t testing.TB) control.MDB {
	t.Helper()
	return get[control.MDB](t, s, "/v1/mdb")
}

// Mirror returns a mirror, with its counters.
func (s *Switch) Mirror(t testing.TB, name string) control.Mirror {
	t.Helper()
	for _, m := range get[[]control.Mirror](t, s, "/v1/mirrors") {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("there is no mirror %s", name)
	return control.Mirror{}
}

// Reload has the process apply a configuration, which Configure writes, and returns when that has
// been done.
func (s *Switch) Reload(t testing.TB, config string) {
	t.Helper()
	s.Configure(t, config)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // also when the test ends
	defer cancel()
	if _, err := s.api.Post(ctx, "/v1/reload"); err != nil {
		t.Fatal(err)
	}
}

// Ctl runs vswitchctl and returns what it prints. It fails the test if the command does.
func (s *Switch) Ctl(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(built(t, "vswitchctl"), append([]string{"--control", s.ControlSocket()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("vswitchctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// WaitState waits until a port has a state.
func (s *Switch) WaitState(t testing.TB, port string, state control.State) {
	t.Helper()
	Until(t, fmt.Sprintf("port %s is %s", port, state), func() bool { return s.Port(t, port).State == state })
}

// PID is vswitchd's process id; `ip netns exec` has become it.
func (s *Switch) PID() int { return s.process.PID() }

func (s *Switch) pid() string { return strconv.Itoa(s.PID()) }

// CPU is the processor time that the process has used, to a hundredth of a second.
func (s *Switch) CPU(t testing.TB) time.Duration {
	t.Helper()
	b, err := os.ReadFile("/proc/" + s.pid() + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	// proc(5): the name, in parentheses, may have spaces; utime and stime are fields 14 and 15, in
	// ticks of 1/100 s.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatalf("/proc/%s/stat: %v", s.pid(), err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// FDs is the number of file descriptors that the process has open.
func (s *Switch) FDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + s.pid() + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// FreeAddress returns an address of this machine and a port on which nobody listens now.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Until waits for a condition. It fails the test when that has not come true after a time in which
// it should have, however slow the machine.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute, it is still not so that %s", what)
		}
	}
}
