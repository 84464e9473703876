//go:build e2e

package e2e

import (
	"net"
	"path/filepath"
	"testing"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
	"vswitchd/vhostuser"
)

// TestUserModeLinuxCallSocket has a guest whose front-end is not offered in-band notifications. Its
// driver signals by eventfds then, and is signalled on a socket.
func TestUserModeLinuxCallSocket(t *testing.T) {
	ctx := testContext(t)
	s := swtest.Start(t, nil, "[port.a]\n[port.b]\n")
	a := guestConfig(s, vm.UML, "a", 1)
	a.Socket = withoutInband(t, s, "a")
	vms := vm.StartAll(t, a, guestConfig(s, vm.UML, "b", 2))
	mustPing(t, ctx, vms[0], "10.0.0.2")
	mustPing(t, ctx, vms[1], "10.0.0.1", "-c", "200", "-f")
	mustIperf(t, ctx, vms[0], "10.0.0.2")
	mustIperf(t, ctx, vms[1], "10.0.0.1")
	p := s.Port(t, "a")
	if len(p.Rings) < 2 || p.Rings[0].KickBy != "eventfd" || p.Rings[0].CallBy != "socket" {
		t.Errorf("rings of port a: %+v", p.Rings)
	}
}

// withoutInband returns a socket behind which a port is that does not offer in-band notifications.
// It takes one front-end.
func withoutInband(t *testing.T, s *swtest.Switch, port string) (socket string) {
	t.Helper()
	socket = filepath.Join(s.Dir, port+"-proxy.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		front, err := l.AcceptUnix()
		if err != nil {
			return
		}
		back, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.Socket(port), Net: "unix"})
		if err != nil {
			front.Close()
			return
		}
		f, b := vhostuser.NewConn(front), vhostuser.NewConn(back)
		go relayMessages(f, b)
		relayMessages(b, f)
	}()
	return socket
}

// relayMessages passes on what comes from one side, until that is gone.
func relayMessages(from, to *vhostuser.Conn) {
	defer to.Close()
	for {
		m, err := from.Recv()
		if err != nil {
			return
		}
		payload := m.Payload
		if m.Request == vhostuser.GetProtocolFeatures && m.Flags&vhostuser.FlagReply != 0 {
			payload = vhostuser.AppendU64(nil, vhostuser.DecodeU64(payload)&^(1<<vhostuser.ProtocolFeatureInbandNotifications))
		}
		err = to.Send(m.Request, m.Flags, payload, m.FDs...)
		m.Close()
		if err != nil {
			return
		}
	}
}
