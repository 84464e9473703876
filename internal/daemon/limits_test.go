package daemon

import (
	"slices"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// A front-end can map as much memory as its port's max_memory permits. A reload changes the limit
// for later mappings and does not reset a session.
func TestMaxMemory(t *testing.T) {
	l := newLab(t, "[port.a]\nmax_memory = \"24MiB\"\n")
	fe, err := vhostusertest.Dial(l.socket("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer fe.Close()
	l.must(fe.Handshake(station.Features, 1<<vhostuser.ProtocolFeatureReplyAck|1<<vhostuser.ProtocolFeatureConfigureMemSlots))
	mem, err := fe.NewMemory(16 << 20)
	l.must(err)
	l.must(fe.AddMemory(mem))
	more, err := fe.NewMemory(16 << 20)
	l.must(err)
	if err := fe.AddMemory(more); err == nil {
		t.Error("32 MiB were accepted")
	}
	l.until("the refusal is logged", func() bool { return strings.Contains(l.log.String(), "max_memory is 24 MiB") })
	shows := func(mapped, limit uint64) {
		t.Helper()
		if m := l.port("a").Memory; *m != (control.Memory{Mapped: mapped << 20, Max: limit << 20, Slots: 509}) {
			t.Errorf("memory is %+v", m)
		}
		for _, s := range l.d.Backend().Switch().Limits {
			if s.Resource == "address-space" && (s.Used != mapped<<20 || s.Limit < 1<<38) {
				t.Errorf("front-ends together use %+v", s)
			}
		}
	}
	shows(16, 24)
	const changed = "port a has another max_memory, for memory mapped from now on"
	l.reload("[port.a]\nmax_memory = \"40MiB\"\n", changed)
	l.must(fe.AddMemory(more))
	shows(32, 40)
	l.reload("[port.a]\nmax_memory = \"8MiB\"\n", changed)
	shows(32, 8)
	l.state("a", control.StateConnected)
	l.must(fe.RemoveMemory(more))
	if err := fe.AddMemory(more); err == nil {
		t.Error("32 MiB were accepted")
	}
	fe.Close()
	l.state("a", control.StateListening)
	shows(0, 8)
	if p := l.port("a"); p.LastError != "" || p.Counters.Resets.Total() != 0 {
		t.Errorf("%q, resets %v", p.LastError, p.Counters.Resets)
	}
}

// The resources of removed ports are available to other ports.
func TestPortsComeAndGo(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	ports := "[port.a]\n"
	var names []string
	for i := range 50 {
		name := "x" + string(rune('a'+i%25)) + string(rune('a'+i/25))
		names = append(names, "port "+name+" added")
		ports += "[port." + name + "]\nmax_memory = \"64TiB\"\n"
	}
	slices.Sort(names)
	for range 3 {
		l.reload(ports, names...)
		var removed []string
		for _, n := range names {
			removed = append(removed, strings.Replace(n, "added", "removed", 1))
		}
		l.reload("[port.a]\n", removed...)
	}
	if n := l.port("a").Memory.Slots; n != 509 {
		t.Errorf("%d slots", n)
	}
}
