package daemon

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/internal/control"
	"vswitchd/internal/port/guest"
	"vswitchd/test/station"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
)

// The port distinguishes an orderly end of a session from the front-end's death.
func TestSessionEnds(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	for i, c := range []struct {
		name   string
		leave  func(t *testing.T, s *station.Station)
		reason string // "": it left in order
		text   string // in last_error
	}{
		{"in order", func(t *testing.T, s *station.Station) { s.Leave() }, "", ""},
		{"killed", func(t *testing.T, s *station.Station) { s.Die() }, "died", "while its rings were running"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := l.connect("a", 1)
			l.state("a", control.StateRunning)
			before := l.port("a").Counters.Resets
			c.leave(t, s)
			l.state("a", control.StateListening)
			p := l.port("a")
			if c.reason != "" {
				before[c.reason]++
			}
			if !maps.Equal(p.Counters.Resets, before) || p.Counters.Reconnects != uint64(i) {
				t.Errorf("counters are %+v", p.Counters)
			}
			if c.text == "" && p.LastError != "" || !strings.Contains(p.LastError, c.text) {
				t.Errorf("last error is %q", p.LastError)
			}
		})
	}
}

// A front-end that connects and disconnects without starting a driver causes no error and no reset.
func TestFrontEndWithoutDriverIsNoError(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	fe, err := vhostusertest.Dial(l.socket("a"))
	if err != nil {
		t.Fatal(err)
	}
	l.must(fe.Handshake(station.Features, station.ProtocolFeatures))
	l.state("a", control.StateConnected)
	fe.Close()
	l.state("a", control.StateListening)
	if p := l.port("a"); p.LastError != "" || len(p.Counters.Resets) != 0 {
		t.Errorf("%q, resets %v", p.LastError, p.Counters.Resets)
	}
}

// A failing connector is a vhostuser.Connector that fails a few times.
type failing struct {
	vhostuser.Connector
	errs []error
}

func (f *failing) Connect(ctx context.Context) (*net.UnixConn, error) {
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		return nil, err
	}
	return f.Connector.Connect(ctx)
}

// If accepting a front-end fails, for example because too many files are open, the port shows the
// error and continues to accept.
func TestConnectFailsForAWhile(t *testing.T) {
	kind := guest.Kind{Connector: func(ctx context.Context, s *guest.Settings) (vhostuser.Connector, error) {
		conns, err := guest.Connect(ctx, s)
		return &failing{conns, []error{fmt.Errorf("accepting a front-end: %w", unix.EMFILE)}}, err
	}}
	l := newLabOf(t, kinds{kind}, "[port.a]\n")
	l.until("the error shows", func() bool { return strings.Contains(l.port("a").LastError, "too many open files") })
	s := l.connect("a", 1)
	l.state("a", control.StateRunning)
	l.must(s.Leave())
}

// Sockets have the owner, group and mode of the configuration.
func TestSocketOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root, to give files away")
	}
	l := newLab(t, "socket_owner = \"1234\"\nsocket_group = \"2345\"\nsocket_mode = \"0640\"\n[port.a]\n")
	fi, err := os.Stat(l.socket("a"))
	if err != nil {
		t.Fatal(err)
	}
	if st := fi.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 2345 || fi.Mode().Perm() != 0o640 {
		t.Errorf("uid %d, gid %d, mode %v", st.Uid, st.Gid, fi.Mode())
	}
}

// A port offers the configured offloads. A change applies to front-ends that connect later; a
// connected front-end keeps the offloads that it was offered.
func TestOffloads(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	dial := func() *vhostusertest.FrontEnd {
		t.Helper()
		fe, err := vhostusertest.Dial(l.socket("a"))
		l.must(err)
		return fe
	}
	offers := func(fe *vhostusertest.FrontEnd, want uint64) {
		t.Helper()
		got, err := fe.GetU64(vhostuser.GetFeatures)
		l.must(err)
		if got &= netport.AllOffloads; got != want {
			t.Errorf("offloads %#x are offered, want %#x", got, want)
		}
	}
	fe := dial()
	offers(fe, netport.AllOffloads)
	const all = station.Features | netport.AllOffloads
	l.must(fe.Handshake(all, station.ProtocolFeatures))

	const later = "port a will offer other offloads to the next front-end that connects"
	l.reload("[port.a]\noffloads = [\"csum\"]\n", later)
	offers(fe, netport.AllOffloads)
	p := l.port("a")
	if p.State != control.StateConnected || !slices.Equal(p.Offloads, []string{"csum"}) || !slices.Contains(p.Features, "HOST_TSO4") {
		t.Errorf("port a is %s, offers %v, negotiated %v", p.State, p.Offloads, p.Features)
	}
	fe.Close()
	l.state("a", control.StateListening)

	fe = dial()
	defer fe.Close()
	offers(fe, netport.OffloadCsum)
	l.reload("[port.a]\noffloads = []\nisolated = true\n", "port a reconfigured", later)
	if p := l.port("a"); len(p.Offloads) != 0 {
		t.Errorf("offloads: %v", p.Offloads)
	}
	l.reload("[port.a]\noffloads = []\n", "port a reconfigured")
}

// A guest that reads its address from the device is notified when a reload changes the address.
func TestReloadTellsGuestItsAddress(t *testing.T) {
	l := newLab(t, "[port.a]\nmac = \"52:54:00:00:00:01\"\n")
	fe, err := vhostusertest.Dial(l.socket("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer fe.Close()
	l.must(fe.Handshake(1<<vhostuser.FeatureProtocolFeatures|1<<virtqueue.FeatureVersion1,
		1<<vhostuser.ProtocolFeatureConfig|1<<vhostuser.ProtocolFeatureBackendReq))
	ch, err := fe.OpenChannel()
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	mem, err := fe.NewMemory(1 << 20)
	l.must(err)
	l.must(fe.ShareMemory())
	ring, err := fe.NewRing(mem, 0, 64, 64<<10)
	l.must(err)
	l.must(fe.StartRing(ring))
	mac := func(want string) {
		t.Helper()
		b, err := fe.GetConfig(0, 6)
		if got := net.HardwareAddr(b).String(); err != nil || got != want {
			t.Fatalf("the guest reads address %s, %v; want %s", got, err, want)
		}
	}
	mac("52:54:00:00:00:01")
	l.reload("[port.a]\nmac = \"52:54:00:00:00:02\"\n", "port a reconfigured")
	if r, _, err := ch.Recv(); err != nil || r != vhostuser.BackendConfigChangeMsg {
		t.Fatalf("front-end receives %v, %v", r, err)
	}
	mac("52:54:00:00:00:02")
}

// A port's details show the current session and how the previous one ended.
func TestDetailShowsSessions(t *testing.T) {
	l := newLab(t, "[port.a]\n")
	if p := l.port("a"); p.Session != nil || p.LastEnd != nil || len(p.FeatureBits) != 0 {
		t.Errorf("before the first front-end: %+v", p)
	}
	s := l.connect("a", 1)
	l.state("a", control.StateRunning)
	p := l.port("a")
	if p.Session == nil || p.Session.Number != 1 || p.Session.AgeS < 0 || p.LastEnd != nil {
		t.Errorf("first front-end: %+v, %+v", p.Session, p.LastEnd)
	}
	if !slices.Contains(p.Features, "EVENT_IDX") || slices.Contains(p.FeaturesNotAcked, "EVENT_IDX") || !slices.Contains(p.FeaturesNotAcked, "LOG_ALL") ||
		!slices.Contains(p.FeatureBits, control.FeatureBit{Bit: 29, Name: "EVENT_IDX", Acked: true}) ||
		!slices.Contains(p.ProtocolFeatureBits, control.FeatureBit{Bit: 9, Name: "CONFIG"}) || !slices.Contains(p.ProtocolFeaturesNotAcked, "CONFIG") {
		t.Errorf("features are %v, %v", p.FeatureBits, p.ProtocolFeatureBits)
	}
	l.must(s.Die())
	l.state("a", control.StateListening)
	if p := l.port("a"); p.Session != nil || p.LastEnd == nil || !strings.Contains(p.LastEnd.Reason, "while its rings were running") {
		t.Errorf("after it died: %+v, %+v", p.Session, p.LastEnd)
	}
	s = l.connect("a", 1)
	l.state("a", control.StateRunning)
	if p := l.port("a"); p.Session.Number != 2 {
		t.Errorf("second front-end: %+v", p.Session)
	}
	l.must(s.Leave())
	l.state("a", control.StateListening)
	if p := l.port("a"); p.LastEnd.Reason != vhostuser.ErrDisconnected.Error() || p.LastError != "" {
		t.Errorf("after it left: %+v, %q", p.LastEnd, p.LastError)
	}
}
