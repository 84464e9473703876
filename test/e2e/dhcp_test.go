//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// serveDHCP runs dnsmasq in a namespace, which gives the stations beyond each of some interfaces
// addresses of a range. An interface has to have an address in its range's network.
func serveDHCP(t *testing.T, ns *swtest.Netns, ranges map[string]string, args ...string) {
	t.Helper()
	args = append([]string{
		"--no-daemon", "--conf-file=/dev/null", "--port=0", "--bind-interfaces", "--no-ping", "--user=root", "--pid-file=",
		"--dhcp-leasefile=" + filepath.Join(t.TempDir(), "leases"),
	}, args...)
	for iface, addresses := range ranges {
		args = append(args, "--interface="+iface, "--dhcp-range="+addresses+",1h")
	}
	cmd := ns.Command("dnsmasq", args...)
	cmd.Stderr = os.Stderr
	start(t, cmd)
}

// dhcp has a guest ask for an address for eth0, which is "" if no server answers some requests.
func dhcp(t *testing.T, g *vm.VM, requests int) (addr string) {
	t.Helper()
	g.MustRun(t, `printf '#!/bin/sh\n[ "$1" != bound ] || ip addr add $ip/24 dev $interface\n' >/tmp/bound && chmod +x /tmp/bound && ip link set eth0 up`)
	r, err := g.Run(testContext(t), fmt.Sprintf("udhcpc -i eth0 -n -q -t %d -T 1 -s /tmp/bound", requests))
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != 0 {
		return ""
	}
	for _, field := range strings.Fields(g.MustRun(t, "ip -4 -o addr show dev eth0")) {
		if ip, ok := strings.CutSuffix(field, "/24"); ok {
			addr = ip
		}
	}
	return addr
}
