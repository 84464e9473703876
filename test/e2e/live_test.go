//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/internal/tomldoc"
	"vswitchd/test/station"
	"vswitchd/test/swtest"
)

// TestLiveChanges changes what runs by commands, many times, under two guests that talk. They must
// not lose a frame, whatever is added, set and removed around them; nor must one whose port has
// its own settings changed.
func TestLiveChanges(t *testing.T) {
	s := swtest.Start(t, nil, "[port.a]\ntag = 5\n[port.b]\ntag = 5\n[port.probe]\ntag = 4\n[port.x]\ntag = 7\n[port.y]\ntag = 7\n")
	guests := map[string]*station.Station{}
	for i, name := range []string{"a", "b", "x", "y", "probe"} {
		g, err := station.Connect(s.Socket(name), station.Config{MAC: station.Addr(byte(i + 1)), Observer: name == "probe"})
		if err != nil {
			t.Fatal(err)
		}
		s.WaitState(t, name, control.StateRunning)
		guests[name] = g
	}
	for from, to := range map[string]string{"a": "b", "b": "a", "x": "y", "y": "x"} {
		guests[from].Talk(guests[to].MAC(), 16)
	}
	for _, g := range guests {
		g.Start()
	}
	commands := 0
	ctl := func(line string) {
		t.Helper()
		s.Ctl(t, strings.Fields(line)...)
		commands++
	}
	const rounds = 15
	for i := range rounds {
		for _, line := range []string{
			"port add c tag=9",
			fmt.Sprintf("port set c tag=%d max_macs=5 egress_rate=%dM", 10+i, i+1),
			"filter add f default=accept",
			"filter rule add f never action=drop vlan=4000",
			"port set c ingress_filter=f egress_filter=f",
			"filter rule add f count action=count --first",
			"mirror add m select_src=c output=probe",
			// Their own ports change in ways that let their frames pass.
			fmt.Sprintf("port set x max_macs=%d ingress_filter=f egress_rate=%dG", i+1, i+1),
			"mirror set m select_src=c,x select_vlan=7",
			"set create s 10.0.0.1",
			"filter rule set f never src=@s",
			"set add s 10.0.0.2",
			fmt.Sprintf("switch set mac_aging_time=%ds poll=%dus", 300+i, i+1),
		} {
			ctl(line)
		}
		visit(t, s, "c", s.Socket("c"))
		for _, g := range []string{"a", "b", "x", "y"} {
			if err := guests[g].Await(100); err != nil {
				t.Fatal(err)
			}
		}
		for _, line := range []string{
			"mirror del m",
			"port set x --unset ingress_filter --unset egress_rate --unset max_macs",
			"port set c --unset ingress_filter --unset egress_filter",
			"filter del f",
			"set destroy s",
			"port del c",
		} {
			ctl(line)
		}
	}
	if n := guests["probe"].Received(); n == 0 {
		t.Error("the mirror has copied nothing")
	}
	for _, name := range []string{"a", "b", "x", "y"} {
		if err := guests[name].Drain(); err != nil {
			t.Error(err)
		}
		if c := s.Port(t, name).Counters; c.Reconnects != 0 || len(c.Drops) != 0 {
			t.Errorf("port %s: %+v", name, c)
		}
		t.Logf("%s: %d requests were answered under %d commands", name, guests[name].Answered(), commands)
	}
	for name, g := range guests {
		if err := g.Leave(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSavedChangesOutlastARestart: what was changed with --save, or saved later, is the
// configuration of the next vswitchd, and the file keeps its comments.
func TestSavedChangesOutlastARestart(t *testing.T) {
	s := swtest.Start(t, nil, "[sandbox]\nkeep_for = [\"uplink\"]\n# the first guest\n[port.a]\nmac = \"52:54:00:00:00:01\" # fixed\n")
	for _, line := range []string{
		"port set a tag=7 isolated=true --save",
		"port add b tag=7 egress_rate=1G --save",
		"uplink add lan interface=nolink0 trunks=7-9 --save",
		"vlan add lan 12 --save",
		"filter add f default=drop --save",
		"filter rule add f arp action=accept ethertype=arp --save",
		"set create s 10.0.0.0/24 80 --save",
		"filter rule add f web action=accept proto=tcp dst_ports=@s --first --save",
		"port set b ingress_filter=f --save",
		"port add probe",
		"mirror add m select_src=a output=probe",
		"fdb add 52:54:00:00:00:09 b --save",
		"neigh add 10.0.0.1 52:54:00:00:00:01 --save",
		"switch set mac_aging_time=77s",
		"config save",
	} {
		s.Ctl(t, strings.Fields(line)...)
	}
	runs := document(t, s)
	fdb := fmt.Sprint(s.FDB(t))
	s.Signal(t, syscall.SIGTERM)
	if code := s.Wait(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	s.Launch(t)
	// Tables can have another order in the file than what was added at run time.
	now, before := document(t, s), runs
	if !now.Equal(before) {
		a, _ := now.Render()
		b, _ := before.Render()
		t.Errorf("after a restart:\n%s\nbefore:\n%s", a, b)
	}
	if now := fmt.Sprint(s.FDB(t)); now != fdb {
		t.Errorf("after a restart: %s; before: %s", now, fdb)
	}
	if out := s.Ctl(t, "config", "show", "--diff"); !strings.HasPrefix(out, "what runs is what ") {
		t.Error(out)
	}
	text, err := os.ReadFile(s.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	for _, comment := range []string{"\n# the first guest\n[port.a]\n", "mac = \"52:54:00:00:00:01\" # fixed\n"} {
		if !strings.Contains(string(text), comment) {
			t.Errorf("the file has lost %q:\n%s", comment, text)
		}
	}
}

// document returns the configuration that runs.
func document(t *testing.T, s *swtest.Switch) *tomldoc.Table {
	t.Helper()
	doc, err := tomldoc.Parse([]byte(s.Ctl(t, "config", "show")))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}
