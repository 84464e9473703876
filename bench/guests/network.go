package guests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"vswitchd/bench/peer"
	"vswitchd/test/vm"
)

// A network joins guests.
type network struct {
	name string

	// join adds to a guest's configuration how it is connected, at a separate port.
	join func(port int, c *vm.Config)

	// work returns what the network's own processes have done.
	work func() (peer.Work, error)

	close func() error
}

// ports returns how many each network has.
func ports() int { return 2 * len(devices) }

// startVswitchd starts vswitchd as it is by default.
func startVswitchd(lab *peer.Lab) (*network, error) {
	be, err := peer.StartVswitchd(lab, peer.Options{Ports: ports()})
	if err != nil {
		return nil, err
	}
	return &network{
		name: "vswitchd",
		join: func(port int, c *vm.Config) { c.Socket, _ = be.Socket(port) },
		work: be.Work,
		close: func() error {
			be.Stop()
			return nil
		},
	}, nil
}

// makeBridge makes a bridge with taps, as it is by default. It has no processes: the kernel does
// its work when QEMU writes to a tap.
func makeBridge() (n *network, err error) {
	ns := fmt.Sprintf("vsbench%d", os.Getpid())
	n = &network{
		name: "bridge and taps",
		join: func(port int, c *vm.Config) {
			c.Netns = ns
			c.Netdev = fmt.Sprintf("tap,id=net0,ifname=tap%d,script=no,downscript=no,vhost=off", port)
		},
		work:  func() (peer.Work, error) { return nil, nil },
		close: func() error { return ip("netns", "del", ns) },
	}
	if err := ip("netns", "add", ns); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if err := ip("-n", ns, "link", "add", "br0", "up", "type", "bridge"); err != nil {
		return nil, err
	}
	for i := range ports() {
		tap := fmt.Sprintf("tap%d", i)
		if err := ip("-n", ns, "tuntap", "add", tap, "mode", "tap", "vnet_hdr"); err != nil {
			return nil, err
		}
		if err := ip("-n", ns, "link", "set", tap, "master", "br0", "up"); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func ip(args ...string) error {
	cmd := exec.Command("ip", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}
