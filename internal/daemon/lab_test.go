package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/port/guest"
	"vswitchd/internal/port/uplinkport"
	vswitch "vswitchd/switch"
	"vswitchd/test/logbuf"
	"vswitchd/test/station"
)

// A lab is a daemon in this process, with its sockets in a directory of the test.
type lab struct {
	*testing.T
	dir string
	log *logbuf.Buffer
	d   *Daemon

	kinds kinds
}

// newLab starts a daemon. It is stopped when the test ends.
func newLab(t *testing.T, cfg string) *lab {
	t.Helper()
	return newLabOf(t, allKinds(), cfg)
}

// newLabOf is newLab with the kinds of port ks.
func newLabOf(t *testing.T, ks kinds, cfg string) *lab {
	t.Helper()
	// The path of t.TempDir can be too long for a unix socket.
	dir, err := os.MkdirTemp("", "vswitchd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := &lab{T: t, dir: dir, log: &logbuf.Buffer{}, kinds: ks}
	l.d, err = ks.newDaemon(t.Context(), l.load(cfg), hclog.New(&hclog.LoggerOptions{Output: l.log, Level: hclog.Debug}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(l.socket("*")); left != nil {
			t.Errorf("sockets were not removed: %v", left)
		}
		if t.Failed() {
			t.Logf("log:\n%s", l.log)
		}
	})
	return l
}

// load makes a configuration from text, which continues the table [switch]. A $ in the text is
// replaced by the test's directory.
func (l *lab) load(text string) *config.Config {
	l.Helper()
	file := filepath.Join(l.dir, "vswitchd.toml")
	head := "[control]\nsocket = \"" + filepath.Join(l.dir, "control") + "\"\n[switch]\nsocket_dir = \"" + l.dir + "\"\n"
	text = strings.ReplaceAll(text, "$", l.dir+"/")
	if err := os.WriteFile(file, []byte(head+text), 0o600); err != nil {
		l.Fatal(err)
	}
	cfg, errs := l.kinds.declarations().Load(file, config.Flags{})
	if errs != nil {
		l.Fatal(errs)
	}
	return cfg
}

func (l *lab) socket(port string) string { return filepath.Join(l.dir, port+".sock") }

// reload loads another configuration and checks the reported changes.
func (l *lab) reload(cfg string, want ...string) {
	l.Helper()
	changed, err := l.d.Reload(l.load(cfg))
	if err != nil {
		l.Fatal(err)
	}
	if got := strings.Join(changed, ", "); got != strings.Join(want, ", ") {
		l.Fatalf("changed: %s; want %s", got, strings.Join(want, ", "))
	}
}

// refuses checks that a reload fails with an error that contains text.
func (l *lab) refuses(cfg, text string) {
	l.Helper()
	changed, err := l.d.Reload(l.load(cfg))
	if err == nil || !strings.Contains(err.Error(), text) {
		l.Fatalf("reload: %v, %v; want an error with %q", changed, err, text)
	}
}

func (l *lab) port(name string) control.PortDetail {
	l.Helper()
	p, err := l.d.Backend().Port(name)
	if err != nil {
		l.Fatalf("%s: %v", name, err)
	}
	return p
}

// names returns the names of the ports in order.
func (l *lab) names() string {
	var names []string
	for _, p := range l.d.Backend().Ports() {
		names = append(names, p.Name)
	}
	return strings.Join(names, " ")
}

// fdb returns the static entries, as "mac/vlan port".
func (l *lab) fdb() string {
	var entries []string
	for _, e := range l.d.sw.FDB("", -1) {
		if e.Kind != vswitch.FDBDynamic {
			entries = append(entries, e.MAC.String()+"/"+string('0'+rune(e.VLAN))+" "+e.Port)
		}
	}
	return strings.Join(entries, ", ")
}

// connect connects a station to a port.
func (l *lab) connect(port string, n byte) *station.Station {
	l.Helper()
	s, err := station.Connect(l.socket(port), station.Config{MAC: station.Addr(n)})
	if err != nil {
		l.Fatal(err)
	}
	return s
}

// talk makes two stations exchange frames until the test ends. The test fails if a frame is lost.
func (l *lab) talk(portA, portB string) (a, b *station.Station) {
	l.Helper()
	a, b = l.connect(portA, 1), l.connect(portB, 2)
	a.Talk(b.MAC(), 16)
	b.Talk(a.MAC(), 16)
	a.Start()
	b.Start()
	l.Cleanup(func() {
		for _, s := range []*station.Station{a, b} {
			l.must(s.Drain())
		}
		for _, s := range []*station.Station{a, b} {
			l.must(s.Leave())
		}
	})
	l.must(a.Await(100))
	return a, b
}

// withoutBackoff returns the kinds of port without the delay after short sessions, for tests of
// other behaviour.
func withoutBackoff() kinds { return kinds{uplinkport.Kind{}, guest.Kind{NoBackoff: true}} }

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Error(err)
	}
}

// until waits for a condition. The test fails if the condition does not become true within a
// minute, which is long enough for a slow machine.
func (l *lab) until(what string, condition func() bool) {
	l.Helper()
	for end := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.Fatalf("timed out after a minute, waiting until %s", what)
		}
	}
}

func (l *lab) state(port string, state control.State) {
	l.Helper()
	l.until(port+" is "+string(state), func() bool { return l.port(port).State == state })
}
