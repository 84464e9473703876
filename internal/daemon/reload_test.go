package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/vhostuser/vhostusertest"
)

// Ports that are added, removed or changed by a reload do not affect the guests on other ports.
func TestReloadWhileGuestsTalk(t *testing.T) {
	const ab = "[port.a]\nmac = \"52:54:00:00:00:01\"\n[port.b]\nmac = \"52:54:00:00:00:02\"\n"
	l := newLab(t, ab)
	a, b := l.talk("a", "b")
	for _, step := range []struct {
		cfg  string
		want []string
	}{
		{ab, nil},
		{ab + "[port.c]\n", []string{"port c added"}},
		{ab + "[port.c]\nmax_macs = 3\n", []string{"port c reconfigured"}},
		{ab + "[port.c]\nqueues = 2\n", []string{"port c reconfigured", "port c will offer another number of queue pairs, 2, to the next front-end that connects"}},
		{ab + "[port.d]\n", []string{"port c removed", "port d added"}},
		{"[port.d]\n" + ab, nil},
		{strings.Replace(ab, "[port.b]", "[port.b]\nmax_macs = 7", 1), []string{"port b reconfigured", "port d removed"}},
		{ab + "[port.c]\n[[fdb]]\nmac = \"52:54:00:00:00:09\"\nport = \"c\"\n", []string{
			"port b reconfigured", "port c added", "static entry 52:54:00:00:00:09 in VLAN 0 -> c"}},
		{ab + "[[fdb]]\nmac = \"52:54:00:00:00:09\"\nport = \"a\"\n", []string{
			"port c removed", "static entry 52:54:00:00:00:09 in VLAN 0 -> a"}},
		{"[switch]\nmcast_snooping = true\n" + ab + "[[fdb]]\nmac = \"52:54:00:00:00:09\"\nport = \"a\"\n", []string{"multicast snooping reconfigured"}},
		{"[switch]\nmcast_snooping = false\n" + ab + "[[fdb]]\nmac = \"52:54:00:00:00:09\"\nport = \"a\"\n", []string{"multicast snooping reconfigured"}},
		{"[switch]\npoll = \"0s\"\n" + ab, []string{"static entry 52:54:00:00:00:09 in VLAN 0 removed", "switch.poll changed"}},
	} {
		text := strings.TrimPrefix(step.cfg, "[switch]\n") // load writes this header
		l.reload(text, step.want...)
		l.must(a.Await(200))
		l.must(b.Await(200))
	}
	for _, name := range []string{"a", "b"} {
		if p := l.port(name); p.Counters.Reconnects != 0 || len(p.Counters.Drops) != 0 || len(p.Counters.Resets) != 0 {
			t.Errorf("port %s: %+v", name, p.Counters)
		}
	}
}

// After a reload, the ports have the order and the settings of the new configuration.
func TestReloadAppliesAll(t *testing.T) {
	l := newLab(t, "[port.a]\n[port.b]\ntag = 5\n[port.c]\n")
	l.reload("[port.c]\n[port.d]\n[port.b]\ntag = 6\nisolated = true\nmac = \"52:54:00:00:00:02\"\n",
		"port a removed", "port b reconfigured", "port d added")
	if got := l.names(); got != "c d b" {
		t.Errorf("ports: %s", got)
	}
	if b := l.port("b"); b.VLAN.Tag != 6 || b.Flags.Get("isolated") != "true" || b.MAC != "52:54:00:00:00:02" {
		t.Errorf("b: %+v", b)
	}
	if got := l.fdb(); got != "52:54:00:00:00:02/6 b" {
		t.Errorf("FDB: %s", got)
	}
	if _, err := os.Lstat(l.socket("a")); !os.IsNotExist(err) {
		t.Errorf("a's socket is still there: %v", err)
	}
	s := l.connect("d", 4)
	l.state("d", control.StateRunning)
	l.must(s.Leave())
}

// A reload can move addresses between ports, independently of the order of the ports.
func TestReloadMovesAddresses(t *testing.T) {
	const m1, m2 = "mac = \"52:54:00:00:00:01\"\n", "mac = \"52:54:00:00:00:02\"\n"
	for _, c := range []struct{ name, from, to, fdb string }{
		{"to the first", "[port.a]\n[port.b]\n" + m1, "[port.a]\n" + m1 + "[port.b]\n", "01/0 a"},
		{"to the last", "[port.a]\n" + m1 + "[port.b]\n", "[port.a]\n[port.b]\n" + m1, "01/0 b"},
		{"swapped", "[port.a]\n" + m1 + "[port.b]\n" + m2, "[port.a]\n" + m2 + "[port.b]\n" + m1, "01/0 b, 02/0 a"},
		{"renamed", "[port.a]\n" + m1, "[port.b]\n" + m1, "01/0 b"},
		{"to a new port", "[port.b]\n" + m1, "[port.a]\n" + m1 + "[port.b]\n", "01/0 a"},
		{"from a port that goes", "[port.a]\n[port.b]\n" + m1, "[port.a]\n" + m1, "01/0 a"},
		{"tags swapped", "[port.a]\ntag = 5\n" + m1 + "[port.b]\ntag = 6\n" + m1, "[port.a]\ntag = 6\n" + m1 + "[port.b]\ntag = 5\n" + m1, "01/5 b, 01/6 a"},
		{"from static to pinned", "[port.a]\n[port.b]\n[[fdb]]\nport = \"b\"\n" + m1, "[port.a]\n" + m1 + "[port.b]\n", "01/0 a"},
		{"from pinned to static", "[port.a]\n" + m1 + "[port.b]\n", "[port.a]\n[port.b]\n[[fdb]]\nport = \"b\"\n" + m1, "01/0 b"},
		{"static to another", "[port.a]\n[port.b]\n[[fdb]]\nport = \"b\"\n" + m1, "[port.a]\n[port.b]\n[[fdb]]\nport = \"a\"\n" + m1, "01/0 a"},
		{"static of a replaced port", "[port.a]\n[[fdb]]\nport = \"a\"\n" + m1, "[port.a]\nqueues = 2\n[[fdb]]\nport = \"a\"\n" + m1, "01/0 a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, c.from)
			if _, err := l.d.Reload(l.load(c.to)); err != nil {
				t.Fatal(err)
			}
			if got := strings.ReplaceAll(l.fdb(), "52:54:00:00:00:", ""); got != c.fdb {
				t.Errorf("FDB: %s; want %s", got, c.fdb)
			}
		})
	}
}

// A refused reload has no effect, whatever the reason for the refusal: ports, sessions, counters,
// sockets, addresses and traffic are as before.
func TestRefusedReload(t *testing.T) {
	const (
		m1   = "mac = \"52:54:00:00:00:01\"\n"
		m2   = "mac = \"52:54:00:00:00:02\"\n"
		m3   = "mac = \"52:54:00:00:00:03\"\n"
		ab   = "[port.a]\n" + m1 + "[port.b]\n" + m2
		busy = "[port.z]\nsocket = \"$busy\"\n"
		rest = "[port.c]\n" + m3 + "[[fdb]]\nmac = \"52:54:00:00:00:09\"\nport = \"c\"\n"
	)
	many := "[[fdb]]\nport = \"a\"\nmac = \"52:54:00:00:01:"
	var full strings.Builder
	for i := range 40 {
		fmt.Fprintf(&full, "%s%02x\"\n", many, i)
	}
	for _, c := range []struct{ name, cfg, err string }{
		{"socket in use", ab + rest + busy, "port.z.socket: $busy: socket is in use"},
		{"socket in use, others gone", ab + busy, "socket is in use"},
		{"socket in use, others new", ab + "[port.d]\n[port.e]\n" + rest + busy, "socket is in use"},
		{"socket of a port that moves in use", ab + "[port.c]\nsocket = \"$busy\"\n" + m3, "port.c.socket: $busy: socket is in use"},
		{"socket is a file", ab + rest + "[port.z]\nsocket = \"$file\"\n", "not a socket"},
		{"socket in a file", ab + rest + "[port.z]\nsocket = \"$file/z.sock\"\n", "port.z.socket: "},
		{"socket in no directory", ab + rest + "[port.z]\nsocket = \"$nowhere/z.sock\"\n", "port.z.socket: there is no directory $nowhere"},
		{"everything changes, and a socket is a file", "[port.a]\nmtu = 1500\nqueues = 2\nsocket_mode = \"0600\"\n[port.b]\nsocket = \"$file\"\n", "not a socket"},
		{"names go round, and a socket is in use", "[port.b]\nsocket = \"$a.sock\"\n[port.a]\nsocket = \"$b.sock\"\n" + busy, "socket is in use"},
		{"addresses moved, and a socket in use", "[port.a]\n" + m2 + "[port.b]\n" + m1 + rest + busy, "socket is in use"},
		{"two sockets", ab + rest + busy + "[port.y]\nsocket = \"$file\"\n", "port.y.socket: $file: "},
		{"an interface without Ethernet", ab + rest + "[uplink.x]\ninterface = \"lo\"\n", "uplink.x.interface: "},
		{"a tag that is reserved", "[port.a]\n[port.b]\ntag = 4095\n", ".toml:8: port.b.tag: "},
		{"more static entries than the table holds", "[port.a]\n[port.b]\n" + full.String(), "mac_table_size: "},
		{"fixed setting", "workers = 2\n" + ab + rest, ".toml:5: switch.workers: cannot change while vswitchd is running"},
		{"two fixed settings", "mac_table_size = 100\ncpus = [0]\n" + ab + rest, "switch.mac_table_size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, "mac_table_size = 20\n"+ab+rest)
			taken, err := net.Listen("unix", l.dir+"/busy")
			if err != nil {
				t.Fatal(err)
			}
			defer taken.Close()
			if err := os.WriteFile(l.dir+"/file", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			a, _ := l.talk("a", "b")
			before := l.expectUnchanged()
			text := c.cfg
			if !strings.HasPrefix(text, "workers") && !strings.HasPrefix(text, "mac_table") {
				text = "mac_table_size = 20\n" + text
			}
			l.refuses(text, strings.ReplaceAll(c.err, "$", l.dir+"/"))
			before()
			l.must(a.Await(200))
			s := l.connect("c", 3)
			l.state("c", control.StateRunning)
			l.must(s.Leave())

			// The next reload succeeds.
			const size = "mac_table_size = 20\n"
			l.reload(size+ab+rest+"[port.d]\n", "port d added")
			l.reload(size+ab+rest, "port d removed")
		})
	}
}

// expectUnchanged records the current state of the ports and files, and returns a function that
// checks that nothing has changed since.
func (l *lab) expectUnchanged() func() {
	l.Helper()
	type snapshot struct {
		name, socket, mac, fdb string
		queues                 int
		session                *control.Session
		mode                   fs.FileMode
	}
	look := func() (list []snapshot) {
		for _, name := range strings.Fields(l.names()) {
			p := l.port(name)
			fi, err := os.Lstat(p.Socket)
			if err != nil {
				l.Fatal(err)
			}
			if p.Session != nil {
				p.Session.AgeS = 0
			}
			list = append(list, snapshot{p.Name, p.Socket, p.MAC, l.fdb(), p.Queues, p.Session, fi.Mode()})
		}
		return list
	}
	files := func() string {
		names, err := filepath.Glob(l.dir + "/*")
		l.must(err)
		return strings.Join(names, " ")
	}
	before, received, there := look(), l.port("a").Counters.RxFrames, files()
	return func() {
		l.Helper()
		if diff := cmp.Diff(before, look(), cmp.AllowUnexported(snapshot{})); diff != "" {
			l.Errorf("the ports have changed:\n%s", diff)
		}
		if n := l.port("a").Counters.RxFrames; n < received {
			l.Errorf("%d frames received, fewer than the %d before", n, received)
		}
		if now := files(); now != there {
			l.Errorf("files %s\nbefore %s", now, there)
		}
	}
}

// A reload that needs more file descriptors than are available is refused.
func TestRefusedReloadWithoutDescriptors(t *testing.T) {
	l := newLab(t, "[port.a]\n[port.b]\n")
	a, _ := l.talk("a", "b")
	check := l.expectUnchanged()
	var limit unix.Rlimit
	l.must(unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	few := limit
	few.Cur = uint64(vhostusertest.OpenFiles(t)) + 20
	cfg := "[port.a]\n[port.b]\nsocket = \"$other\"\n"
	for i := range 100 {
		cfg += fmt.Sprintf("[port.p%d]\n", i)
	}
	loaded := l.load(cfg)
	l.must(unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	_, err := l.d.Reload(loaded)
	l.must(unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	if err == nil || !strings.Contains(err.Error(), "too many open files") {
		t.Errorf("reload: %v", err)
	}
	check()
	l.must(a.Await(200))
}

// A daemon that cannot open all of its ports closes those that it has opened.
func TestStartIsUndone(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	taken, err := net.Listen("unix", l.dir+"/busy")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := New(l.load("[port.b]\n[port.c]\n[port.z]\nsocket = \"$busy\"\n"), l.d.log); err == nil {
		t.Error("no error")
	}
	for _, p := range []string{"b", "c"} {
		if _, err := os.Lstat(l.socket(p)); !os.IsNotExist(err) {
			t.Errorf("%s's socket is there: %v", p, err)
		}
	}
	if s, err := station.Connect(l.socket("a"), station.Config{MAC: station.Addr(1)}); err != nil {
		t.Error(err)
	} else {
		l.must(s.Leave())
	}
}

// A reload after the daemon has stopped is refused.
func TestReloadAfterTheEnd(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	other, err := New(l.load("[port.b]\n"), l.d.log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.must(other.Run(ctx))
	for _, cfg := range []string{"[port.b]\n[port.c]\n", "", "[port.b]\nmax_macs = 1\n"} {
		if changed, err := other.Reload(l.load(cfg)); err == nil {
			t.Errorf("changed: %v", changed)
		}
	}
}
