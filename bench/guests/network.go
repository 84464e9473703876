package guests

import (
	"errors"
	"fmt"
	"os/exec"

	"vswitchd/bench/peer"
	"vswitchd/test/child"
	"vswitchd/test/vm"
)

// A network joins guests, and a station behind an uplink.
type network struct {
	name string

	// join adds to a guest's configuration how it is connected, at a separate port.
	join func(port int, c *vm.Config)

	// work returns what the network's own processes have done.
	work func() (peer.Work, error)

	// closers undo what was made, the last one first.
	closers []func() error
}

// makeNetworks makes the networks that are compared. They have to be closed, even if there was an
// error.
func makeNetworks(lab *peer.Lab) ([]*network, error) {
	v, err := startVswitchd(lab)
	if err != nil {
		return nil, err
	}
	b, err := makeBridge(lab)
	return []*network{v, b}, err
}

// closeNetworks closes networks.
func closeNetworks(networks []*network) (err error) {
	for _, n := range networks {
		err = errors.Join(err, n.close())
	}
	return err
}

func (n *network) close() (err error) {
	for i := len(n.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, n.closers[i]())
	}
	return err
}

// ports returns how many each network has.
func ports() int { return 2 * len(devices) }

// stationAddr is the address of the station behind an uplink.
const stationAddr = "10.0.0.250"

// startStation gives the far end of a wire an address, and starts an iperf3 server there.
func (n *network) startStation(w *peer.Wire) error {
	if err := ip("-n", w.FarNS(), "addr", "add", stationAddr+"/24", "dev", peer.FarEnd); err != nil {
		return err
	}
	server, err := child.Start(exec.Command("ip", "netns", "exec", w.FarNS(), "iperf3", "--server"), nil)
	if err != nil {
		return fmt.Errorf("starting iperf3: %w", err)
	}
	n.closers = append(n.closers, func() error {
		server.Kill()
		return nil
	})
	return nil
}

// startVswitchd starts vswitchd as it is by default, with an uplink.
func startVswitchd(lab *peer.Lab) (*network, error) {
	w, err := lab.Wire()
	if err != nil {
		return nil, err
	}
	be, err := peer.StartVswitchd(lab, peer.Options{Ports: ports(), Uplink: true})
	if err != nil {
		return nil, err
	}
	n := &network{
		name: "vswitchd",
		join: func(port int, c *vm.Config) { c.Socket, _ = be.Socket(port) },
		work: be.Work,
		closers: []func() error{func() error {
			be.Stop()
			return nil
		}},
	}
	return n, n.startStation(w)
}

// makeBridge makes a bridge with taps, as it is by default, and with the near end of a wire. The
// bridge has no processes: the kernel does its work when QEMU writes to a tap.
func makeBridge(lab *peer.Lab) (*network, error) {
	w, err := lab.WireOf("bridge")
	if err != nil {
		return nil, err
	}
	ns := w.NearNS()
	n := &network{
		name: "bridge and taps",
		join: func(port int, c *vm.Config) {
			c.Netns = ns
			c.Netdev = fmt.Sprintf("tap,id=net0,ifname=tap%d,script=no,downscript=no,vhost=off", port)
		},
		work: func() (peer.Work, error) { return nil, nil },
	}
	if err := ip("-n", ns, "link", "add", "br0", "up", "type", "bridge"); err != nil {
		return n, err
	}
	if err := ip("-n", ns, "link", "set", peer.NearEnd, "master", "br0"); err != nil {
		return n, err
	}
	for i := range ports() {
		tap := fmt.Sprintf("tap%d", i)
		if err := ip("-n", ns, "tuntap", "add", tap, "mode", "tap", "vnet_hdr"); err != nil {
			return n, err
		}
		if err := ip("-n", ns, "link", "set", tap, "master", "br0", "up"); err != nil {
			return n, err
		}
	}
	return n, n.startStation(w)
}

func ip(args ...string) error {
	cmd := exec.Command("ip", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}
