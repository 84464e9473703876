//go:build e2e && long

package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vswitchd/test/station"
	"vswitchd/test/swtest"
)

// Two builds of one commit, in different folders, are the same.
func TestPackageIsReproducible(t *testing.T) {
	var debs [2][]byte
	for i := range debs {
		b, err := os.ReadFile(build(t))
		if err != nil {
			t.Fatal(err)
		}
		debs[i] = b
	}
	if !bytes.Equal(debs[0], debs[1]) {
		t.Error("the packages differ")
	}
}

// lintian, the checker of Debian's policy, finds nothing.
func TestPackageFollowsPolicy(t *testing.T) {
	if out, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning,info", build(t)).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// systemd-analyze rates what the service could do to the machine at 2.0 of 10 at most.
func TestServiceIsConfined(t *testing.T) {
	if out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", "../../packaging/vswitchd.service").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// guest connects a guest to a port of the service.
func (s *system) guest(port string, n byte) *station.Station {
	s.t.Helper()
	g, err := station.Connect(s.path("/run/vswitchd/"+port+".sock"), station.Config{MAC: station.Addr(n)})
	if err != nil {
		s.t.Fatal(err)
	}
	return g
}

const twoPorts = `
[switch]
socket_group = "kvm"
[port.vm1]
[port.vm2]
[uplink.lan]
interface = "eth0"
[host.br0]
addresses = ["10.0.0.1/24"]
`

// The package's life on a machine: installed, used, upgraded, removed.
func TestPackageFromInstallToPurge(t *testing.T) {
	deb := build(t)
	s := boot(t)
	before := s.run("find", "/etc", "/usr", "/var/lib", "-path", "/var/lib/dpkg", "-prune", "-o", "-print")

	s.run("dpkg", "--install", s.copyIn(deb))
	if state := s.property("ActiveState"); state != "active" {
		t.Fatalf("the service is %s", state)
	}
	s.run("vswitchd", "--check")
	s.run("man", "--version") // the system has man, or the next lines show nothing
	for _, page := range []string{"8 vswitchd", "8 vswitchctl", "5 vswitchd.toml"} {
		s.run("man", strings.Fields("--warnings -E UTF-8 "+page)...)
	}

	t.Run("as a service", func(t *testing.T) { s.serves(t) })

	s.run("dpkg", "--install", s.copyIn(newer(t, deb)))
	s.talk("vm1", "vm2") // with the configuration as it was changed

	s.run("dpkg", "--purge", "vswitchd")
	if out, err := s.try("pgrep", "vswitchd"); err == nil {
		t.Errorf("vswitchd still runs: %s", out)
	}
	after := s.run("find", "/etc", "/usr", "/var/lib", "-path", "/var/lib/dpkg", "-prune", "-o", "-print")
	for file := range strings.Lines(after) {
		if !strings.Contains(before+"\n", file) {
			t.Errorf("%s is left", strings.TrimSpace(file))
		}
	}
	if _, err := os.Stat(s.path("/run/vswitchd")); err == nil {
		t.Error("/run/vswitchd is left")
	}
}

// serves checks what systemd does with the service.
func (s *system) serves(t *testing.T) {
	s.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far")
	s.run("ip", "link", "set", "eth0", "up")
	s.run("ip", "link", "set", "far", "up")
	s.write("/etc/vswitchd/vswitchd.toml", twoPorts)
	s.run("systemctl", "reload", "vswitchd")
	swtest.Until(t, "the reload", func() bool {
		_, err := s.try("vswitchctl", "port", "show", "br0")
		return err == nil
	})
	s.talk("vm1", "vm2")
	for _, port := range []string{"lan", "br0"} {
		if out := s.run("vswitchctl", "port", "show", port); !strings.Contains(out, "running") {
			t.Errorf("%s", out)
		}
	}
	if out := s.run("stat", "--format=%U:%G:%a", "/run/vswitchd/vm1.sock"); out != "vswitchd:kvm:660" {
		t.Errorf("a port's socket has %s", out)
	}
	if out := s.run("ps", "--no-headers", "-o", "user", s.property("MainPID")); strings.TrimSpace(out) != "vswitchd" {
		t.Errorf("the service runs as %s", out)
	}

	// A wrong configuration is refused with its line, and harms nobody.
	pid := s.property("MainPID")
	s.write("/etc/vswitchd/vswitchd.toml", twoPorts+"tga = 1\n")
	if out, err := s.try("systemctl", "reload", "vswitchd"); err == nil {
		t.Errorf("a wrong configuration was reloaded: %s", out)
	}
	if out := s.run("journalctl", "--no-pager", "--unit=vswitchd"); !strings.Contains(out, "vswitchd.toml:10: host.br0.tga: unknown key") {
		t.Errorf("the journal does not say what is wrong:\n%s", out)
	}
	s.write("/etc/vswitchd/vswitchd.toml", twoPorts)
	if now := s.property("MainPID"); now != pid {
		t.Errorf("process %s has become %s", pid, now)
	}

	// The journal has priorities.
	if out := s.run("journalctl", "--no-pager", "--unit=vswitchd", "--priority=warning"); !strings.Contains(out, "no ports are configured") || strings.Contains(out, "[INFO]") {
		t.Errorf("warnings in the journal:\n%s", out)
	}

	// A wrong configuration at the start is no reason to try again.
	s.write("/etc/vswitchd/vswitchd.toml", twoPorts+"tga = 1\n")
	if out, err := s.try("systemctl", "restart", "vswitchd"); err == nil {
		t.Errorf("a wrong configuration was started: %s", out)
	}
	if state := s.property("ActiveState"); state != "failed" {
		t.Errorf("after the start with a wrong configuration the service is %s", state)
	}
	s.write("/etc/vswitchd/vswitchd.toml", twoPorts)
	s.run("systemctl", "start", "vswitchd")

	s.kill(syscall.SIGKILL)
	s.kill(syscall.SIGQUIT) // as a crash of the program ends
	s.talk("vm1", "vm2")

	// A vswitchd that hangs is found by the watchdog.
	s.run("mkdir", "-p", "/run/systemd/system/vswitchd.service.d")
	s.write("/run/systemd/system/vswitchd.service.d/watchdog.conf", "[Service]\nWatchdogSec="+watchdog.String()+"\n")
	s.run("systemctl", "daemon-reload")
	s.run("systemctl", "restart", "vswitchd")
	s.kill(syscall.SIGSTOP)
	s.talk("vm1", "vm2")
}

// kill sends the service a signal after which systemd restarts it.
func (s *system) kill(sig syscall.Signal) {
	s.t.Helper()
	pid := s.property("MainPID")
	s.run("kill", "-"+strconv.Itoa(int(sig)), pid)
	s.awaitRestart(pid)
}
