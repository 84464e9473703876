package daemon

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
	"vswitchd/test/logbuf"
)

func TestConflictsAreLoggedAtALimitedRate(t *testing.T) {
	buf := &logbuf.Buffer{}
	c := &conflictLog{log: hclog.New(&hclog.LoggerOptions{Output: buf}), warned: make(map[conflictKey]*conflictState)}
	now := time.Now()
	flaps := func(port string, n uint64) vswitch.Conflict {
		return vswitch.Conflict{Port: port, Kind: vswitch.ConflictFlap, Count: n, Other: "b"}
	}
	lines := func() int { return strings.Count(buf.String(), "\n") }

	c.report(now, []vswitch.Conflict{flaps("a", manyFlaps-1)})
	if lines() != 0 {
		t.Errorf("a few flaps are logged: %s", buf)
	}
	for range 59 { // a storm that lasts
		c.report(now, []vswitch.Conflict{flaps("a", 1000), {Port: "a", Kind: vswitch.ConflictClaim, Count: 1, Other: "vm"}})
		now = now.Add(time.Second)
	}
	if lines() != 2 {
		t.Errorf("%d lines, want one for each kind: %s", lines(), buf)
	}
	now = now.Add(time.Second)
	c.report(now, []vswitch.Conflict{flaps("a", 1)})
	if lines() != 3 || !strings.Contains(buf.String(), fmt.Sprint("times=", 58*1000+1)) {
		t.Errorf("the sum is not logged after a minute: %s", buf)
	}
	c.report(now, []vswitch.Conflict{flaps("c", 1000)}) // counted separately for each port
	if lines() != 4 {
		t.Errorf("%d lines: %s", lines(), buf)
	}
	for kind, text := range map[vswitch.ConflictKind]string{
		vswitch.ConflictHeld: "move too often", vswitch.ConflictLimit: "max_macs",
	} {
		c.report(now, []vswitch.Conflict{{Port: "a", Kind: kind, Count: 1}})
		if last := strings.TrimSpace(buf.String()); !strings.Contains(last[strings.LastIndex(last, "\n")+1:], text) {
			t.Errorf("kind %d is logged as %s", kind, last)
		}
	}
	c.report(now.Add(time.Hour), nil)
	c.report(now.Add(2*time.Hour), nil)
	for k, s := range c.warned {
		if s.pending == 0 {
			t.Errorf("the state of %v was not deleted", k)
		}
	}
}

// Two uplinks on one segment receive frames from the same stations. This is counted, shown and
// logged.
func TestTwoUplinksOnOneSegment(t *testing.T) {
	l := newLab(t, "[uplink.one]\ninterface = \"nic0\"\n[uplink.two]\ninterface = \"nic1\"\n")
	w0, w1 := l.addWire("nic0", "far0"), l.addWire("nic1", "far1")
	l.state("one", control.StateRunning)
	l.state("two", control.StateRunning)
	src, dst := vswitch.MAC{2, 0, 0, 0, 0, 9}, vswitch.MAC{2, 0, 0, 0, 0, 1}
	flaps := func(port string) uint64 { return l.port(port).Counters.FDBEvents["flapped"] }
	l.until("addresses flap", func() bool {
		w0.send(frame(dst, src, etypeExperimental, "x"))
		w1.send(frame(dst, src, etypeExperimental, "x"))
		return flaps("one") > 20 && flaps("two") > 20
	})
	l.until("the conflict is logged", func() bool { return strings.Contains(l.log.String(), "move back and forth between ports") })
	if n := l.d.Backend().Switch().FDBEvents["flapped"]; n < 40 {
		t.Errorf("%d flaps in all", n)
	}
}
