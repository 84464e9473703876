//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestFeaturesTurnedOnByReload takes four guests, and a network behind an uplink, through the
// features of layer 2, which reloads turn on and off while the guests run.
func TestFeaturesTurnedOnByReload(t *testing.T) {
	f := startFourGuests(t)
	for _, step := range []struct {
		behaviour string
		run       func(t *testing.T)
	}{
		{"IPv6 stations find each other with snooping", f.findEachOtherWithSnooping},
		{"a stream goes to the members of its group", f.streamToMembers},
		{"a tunnel carries a customer's VLANs", f.tunnelCustomerVLANs},
		{"a trunk keeps priorities, or sets them", f.trunkPriorities},
		{"the switch answers for neighbours", f.answerForNeighbours},
		{"a neighbour that changes its address or moves is followed", f.followNeighbours},
		{"private VLANs", f.privateVLANs},
		{"a storm leaves others their traffic", f.storm},
		{"the FDB changes by hand", f.changeFDB},
		{"a guest is sent what a mirror copies", f.mirrorToGuest},
		{"a VLAN beyond the uplink is sent what a mirror copies", f.mirrorToVLAN},
	} {
		t.Run(step.behaviour, step.run)
	}
}

// beyondAlone is the configuration of the switch in the namespace. Its uplink comes later.
const beyondAlone = "[sandbox]\nkeep_for = [\"uplink\"]\n[port.b]\n"

// fourGuests are guests with addresses that end in 1 to 4, at ports of their names, and a namespace
// with those that end in 9 behind the uplink lan. In the namespace is another switch, which has
// eth1 of guest b.
type fourGuests struct {
	s          *swtest.Switch
	beyond     *swtest.Switch
	here       *swtest.Netns // of s
	there      *swtest.Netns // of beyond
	a, b, c, d *vm.VM
}

func startFourGuests(t *testing.T) *fourGuests {
	t.Helper()
	here, there := swtest.NewNetns(t), swtest.NewNetns(t)
	swtest.NewVeth(t, here, "nic0", there, "far0")
	there.Run(t, "ip", "addr", "add", "10.0.0.9/24", "dev", "far0")
	there.Run(t, "ip", "addr", "add", "fd00::9/64", "dev", "far0", "nodad")
	f := &fourGuests{here: here, there: there, beyond: swtest.Start(t, there, beyondAlone)}
	// The querier of the first step takes ten seconds to become sure of the members, in which the
	// guests boot.
	f.s = swtest.Start(t, here, f.config(snooping, nil, ""))
	var configs []vm.Config
	for i, name := range []string{"a", "b", "c", "d"} {
		config := guestConfig(f.s, vm.QEMU10, name, i+1)
		// A guest that does not run for a while is to lose nothing.
		config.DeviceOptions = "rx_queue_size=1024"
		if name == "b" {
			config.More = []vm.NIC{{Socket: f.beyond.Socket("b"), MAC: "52:54:00:00:01:0b"}}
		}
		configs = append(configs, config)
	}
	guests := vm.StartAll(t, configs...)
	f.a, f.b, f.c, f.d = guests[0], guests[1], guests[2], guests[3]
	f.s.WaitState(t, "lan", control.StateRunning)
	for _, g := range guests {
		// Addresses outlive that the link is set down.
		g.MustRun(t, "echo 1 >/proc/sys/net/ipv6/conf/eth0/keep_addr_on_down && (flow serve "+flowPort+" >/dev/null 2>&1 &)")
	}
	return f
}

func (f *fourGuests) all() []*vm.VM { return []*vm.VM{f.a, f.b, f.c, f.d} }

// portKeys are lines of the configuration, by the name of the port.
type portKeys map[string]string

// config is a configuration with keys of [switch] and of ports, and further tables.
func (f *fourGuests) config(switchKeys string, keys portKeys, tables string) string {
	var b strings.Builder
	b.WriteString(switchKeys + "\n")
	for _, port := range []string{"a", "b", "c", "d"} {
		b.WriteString("[port." + port + "]\n" + keys[port] + "\n")
	}
	b.WriteString("[uplink.lan]\ninterface = \"nic0\"\n" + keys["lan"] + "\n" + tables)
	return b.String()
}

// configure has the switch use such a configuration.
func (f *fourGuests) configure(t *testing.T, switchKeys string, keys portKeys, tables string) {
	t.Helper()
	f.s.Reload(t, f.config(switchKeys, keys, tables))
}

// permanent gives a guest an entry for another one, whose address it then does not have to ask for.
func permanent(t *testing.T, g, of *vm.VM) {
	t.Helper()
	entry := fmt.Sprintf("%s lladdr %s dev eth0", ipv4(of), of.Config.MAC)
	g.MustRun(t, "ip neigh replace "+entry+" nud permanent")
	t.Cleanup(func() { g.MustRun(t, "ip neigh del "+entry) })
}

// ipv4 is a guest's IPv4 address.
func ipv4(g *vm.VM) string {
	addr, _, _ := strings.Cut(g.Config.IPs[0], "/")
	return addr
}

// readdress gives a guest's eth0 another MAC address.
func readdress(t *testing.T, g *vm.VM, mac string) {
	t.Helper()
	g.MustRun(t, "ip link set eth0 down && ip link set eth0 address "+mac+" && ip link set eth0 up")
}

// noPing pings from a guest, and wants no reply.
func noPing(t *testing.T, from *vm.VM, addr string, args ...string) {
	t.Helper()
	if r, err := from.Ping(testContext(t), addr, append([]string{"-c", "2", "-W", "0.5"}, args...)...); err != nil || r.Received != 0 {
		t.Errorf("%s pings %s: %+v, %v", from.Config.Name, addr, r, err)
	}
}

// mustFlow has a guest send another one TCP and UDP, of which each byte has to arrive.
func mustFlow(t *testing.T, from *vm.VM, addr, args string) {
	t.Helper()
	checkFlow(t, "guest "+from.Config.Name+" to "+addr, from.MustRun(t, "flow send "+args+" "+addr+" "+flowPort))
}

// checkFlow checks what the command flow has printed.
func checkFlow(t *testing.T, what, report string) {
	t.Helper()
	type amounts struct{ Bytes, Datagrams int }
	r := decode[struct {
		amounts
		Error string
		Sent  amounts
	}](t, report)
	if r.Error != "" || r.amounts != r.Sent {
		t.Errorf("from %s: %+v", what, r)
	}
}

// flowCommand is the path of the guests' command flow, for namespaces.
func flowCommand(t *testing.T) string {
	t.Helper()
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "build/guest/flow")
}

// forget has guests forget where their neighbours are.
func forget(t *testing.T, guests ...*vm.VM) {
	t.Helper()
	for _, g := range guests {
		g.MustRun(t, "ip neigh flush dev eth0")
	}
}
