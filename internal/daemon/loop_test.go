package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
	"vswitchd/test/logbuf"
)

// Each change of a block is logged. That there is a loop for which no port is blocked is logged
// once a minute for each port.
func TestLoopsAreLogged(t *testing.T) {
	buf := &logbuf.Buffer{}
	l := &loopLog{log: hclog.New(&hclog.LoggerOptions{Output: buf}), seen: make(map[string]time.Time)}
	now, logged := time.Now(), 0
	for _, tt := range []struct {
		later  time.Duration
		report vswitch.LoopReport
		text   string // "": nothing
	}{
		{0, vswitch.LoopReport{Change: vswitch.LoopBlocked, Port: "wan", Other: "lan", VLAN: 7, For: 31 * time.Second}, "is blocked: there is a loop"},
		{0, vswitch.LoopReport{Change: vswitch.LoopRemains, Port: "wan", Other: "lan", VLAN: 7, For: time.Minute}, "stays blocked"},
		{0, vswitch.LoopReport{Change: vswitch.LoopReleased, Port: "wan", Other: "lan", VLAN: 7}, "no longer blocked"},
		{0, vswitch.LoopReport{Change: vswitch.LoopSeen, Port: "lan", Other: "lan", Count: 3}, "no port is blocked"},
		{0, vswitch.LoopReport{Change: vswitch.LoopSeen, Port: "wan", Other: "wan", Count: 3}, "no port is blocked"},
		{59 * time.Second, vswitch.LoopReport{Change: vswitch.LoopSeen, Port: "lan", Other: "lan", Count: 3}, ""},
		{time.Second, vswitch.LoopReport{Change: vswitch.LoopSeen, Port: "lan", Other: "lan", Count: 3}, "no port is blocked"},
	} {
		now = now.Add(tt.later)
		l.report(now, []vswitch.LoopReport{tt.report})
		lines := strings.Split(strings.TrimSpace(buf.String()), "\n")[logged:]
		logged += len(lines)
		switch {
		case tt.text == "":
			if len(lines) != 0 {
				t.Errorf("%+v is logged: %v", tt.report, lines)
			}
		case len(lines) != 1 || !strings.Contains(lines[0], tt.text) || !strings.Contains(lines[0], "port="+tt.report.Port):
			t.Errorf("%+v is logged as %v", tt.report, lines)
		}
	}
}

// Two uplinks whose interfaces are the ends of one cable: one of them is blocked, which is shown
// and logged. When loop detection is switched off, the block ends.
func TestCableBetweenTwoUplinks(t *testing.T) {
	const uplinks = "[uplink.one]\ninterface = \"nic0\"\n[uplink.two]\ninterface = \"far0\"\n[uplink.in]\ninterface = \"nic1\"\n"
	l := newLab(t, uplinks)
	l.addWire("nic0", "far0")
	w := l.addWire("nic1", "far1")
	for _, name := range []string{"one", "two", "in"} {
		l.state(name, control.StateRunning)
	}
	src := vswitch.MAC{2, 0, 0, 0, 0, 9}
	l.until("one port is blocked", func() bool {
		w.send(frame(vswitch.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, src, etypeExperimental, "x"))
		return l.port("two").State == control.StateBlocked
	})
	b := l.port("two").Loop
	if b == nil || b.Port != "one" || b.VLAN != 0 || b.ExpireS < 29 || b.ExpireS > 38 {
		t.Errorf("the block is %+v", b)
	}
	if l.port("one").State != control.StateRunning || l.port("one").Loop != nil {
		t.Errorf("the other port is blocked, too: %+v", l.port("one").Loop)
	}
	l.until("the block is logged", func() bool { return strings.Contains(l.log.String(), "a port is blocked") })
	l.reload("loop_detection = false\n"+uplinks, "loop detection reconfigured")
	l.state("two", control.StateRunning)
}
