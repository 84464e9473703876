//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
	"vswitchd/test/walkthrough"
)

// TestLibvirt runs the examples for libvirt in both modes of a port's socket: vm1's QEMU connects
// to vswitchd, and vswitchd connects to that of vm2.
func TestLibvirt(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	l, s := startLibvirt(t)
	l.define(t, s, "libvirt.xml", "vm1", "10.0.0.1")
	l.define(t, s, "libvirt-server.xml", "vm2", "10.0.0.2")
	l.virsh(t, ctx, "start", "vm1")
	l.virsh(t, ctx, "start", "vm2")
	a, b := l.agent(t, ctx, "vm1"), l.agent(t, ctx, "vm2")
	for _, port := range []string{"vm1", "vm2"} {
		s.WaitState(t, port, control.StateRunning)
	}
	a.ping(t, ctx, "10.0.0.2")
	b.ping(t, ctx, "10.0.0.1")

	t.Run("setlink", func(t *testing.T) {
		// A libvirt that takes the command has to carry it out; 9.0 does not, and docs/libvirt.md
		// says so.
		switch out, err := l.tryVirsh(ctx, "domif-setlink", "vm1", "52:54:00:00:00:01", "down"); {
		case err == nil:
			a.wait(t, ctx, "[ $(cat /sys/class/net/eth0/carrier) = 0 ]")
			l.virsh(t, ctx, "domif-setlink", "vm1", "52:54:00:00:00:01", "up")
		case !strings.Contains(out, "unable to change config on 'vhostuser' network type"):
			t.Errorf("domif-setlink is refused in other words than docs/libvirt.md says: %s", out)
		}
		l.virsh(t, ctx, "qemu-monitor-command", "vm1", "--hmp", "set_link", "net0", "off")
		a.wait(t, ctx, "[ $(cat /sys/class/net/eth0/carrier) = 0 ]")
		s.WaitState(t, "vm1", control.StateConnected) // QEMU has stopped the rings
		l.virsh(t, ctx, "qemu-monitor-command", "vm1", "--hmp", "set_link", "net0", "on")
		s.WaitState(t, "vm1", control.StateRunning)
		a.ping(t, ctx, "10.0.0.2")
	})
	t.Run("restart of vswitchd", func(t *testing.T) {
		boots := [2]string{a.boot(t, ctx), b.boot(t, ctx)}
		l.virsh(t, ctx, "qemu-monitor-command", "vm1", "--hmp", "set_link", "net0", "off")
		a.wait(t, ctx, "[ $(cat /sys/class/net/eth0/carrier) = 0 ]")
		s.Kill()
		s.Launch(t)
		for _, port := range []string{"vm1", "vm2"} {
			s.WaitState(t, port, control.StateRunning)
		}
		a.wait(t, ctx, "[ $(cat /sys/class/net/eth0/carrier) = 1 ]") // QEMU sets it up as it connects
		for g, other := range map[*libvirtGuest]string{a: "10.0.0.2", b: "10.0.0.1"} {
			g.wait(t, ctx, "ping -n -q -c 1 -W 1 "+other) // what was under way at the restart may be lost
			g.ping(t, ctx, other)
		}
		if boots != [2]string{a.boot(t, ctx), b.boot(t, ctx)} {
			t.Error("a guest has rebooted")
		}
	})
	t.Run("reboot", func(t *testing.T) {
		// libvirt asks the guest to power off, which this one is not set up to hear, and has QEMU
		// start it again when it has.
		before := [2]string{a.boot(t, ctx), b.boot(t, ctx)}
		l.virsh(t, ctx, "reboot", "vm2", "--mode", "acpi")
		b.run(t, ctx, "poweroff")
		l.virsh(t, ctx, "reset", "vm1")
		for i, g := range []*libvirtGuest{a, b} {
			if err := g.WaitReboot(ctx, before[i]); err != nil {
				t.Fatalf("%v\n%s", err, l.console(g.name))
			}
		}
		a.ping(t, ctx, "10.0.0.2")
	})
	t.Run("destroy", func(t *testing.T) {
		l.virsh(t, ctx, "destroy", "vm1")
		l.virsh(t, ctx, "destroy", "vm2")
		s.WaitState(t, "vm1", control.StateListening)
		s.WaitState(t, "vm2", control.StateConnecting)
		for _, port := range []string{"vm1", "vm2"} {
			if p := s.Port(t, port); p.LastError != "" || p.Counters.Resets.Total() != 0 {
				t.Errorf("port %s: %s, %v", port, p.LastError, p.Counters.Resets)
			}
		}
	})
}

// A libvirt is a libvirtd in namespaces, see libvirtd.sh, with Debian's user for QEMU.
type libvirt struct {
	dir      string // seen in there, too
	kvmGroup string // number of the group
}

// libvirtQEMU is the number of Debian's user libvirt-qemu.
const libvirtQEMU = 64055

// startLibvirt starts libvirtd, and vswitchd with the configuration in qemu-examples/README.md.
func startLibvirt(t *testing.T) (*libvirt, *swtest.Switch) {
	t.Helper()
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.BuildImage(); err != nil {
		t.Fatal(err)
	}
	l := &libvirt{dir: shortDir(t), kvmGroup: "9998"}
	if err := os.Chmod(l.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if g, err := user.LookupGroup("kvm"); err == nil {
		l.kvmGroup = g.Gid
	}
	cmd := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "libvirtd.sh", l.dir)
	cmd.Env = append(os.Environ(), "BUILD="+filepath.Join(root, "build"), "KVM_GROUP="+l.kvmGroup)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"libvirtd.log", "libvirtd.out", "vm1.console", "vm2.console", "vm3.console"} {
				t.Logf("%s:\n%s", name, l.file(name))
			}
		}
		stdin.Close()
		_ = cmd.Wait()
	})
	swtest.Until(t, "libvirtd answers", func() bool {
		_, err := l.tryVirsh(t.Context(), "uri")
		return err == nil
	})

	blocks, err := walkthrough.Blocks(filepath.Join(root, "qemu-examples/README.md"), "libvirt")
	if err != nil || len(blocks) != 1 || !blocks[0].Is("toml") {
		t.Fatalf("qemu-examples/README.md has no configuration for libvirt: %v, %v", err, blocks)
	}
	config := strings.TrimPrefix(blocks[0].Text, "[switch]\n") // swtest has begun this table
	replace(t, &config, `"kvm"`, fmt.Sprintf("%q", l.kvmGroup))
	replace(t, &config, guestSockets, l.folder(t, "guests"))
	s := swtest.Start(t, nil, config)
	if err := os.Chmod(s.Dir, 0o755); err != nil { // as /run/vswitchd is
		t.Fatal(err)
	}
	return l, s
}

// guestSockets is where QEMU makes sockets in the examples.
const guestSockets = "/run/vswitchd-guests"

// replace replaces the only occurrence of a text in an example.
func replace(t *testing.T, example *string, old, replacement string) {
	t.Helper()
	if n := strings.Count(*example, old); n != 1 {
		t.Fatalf("the example has %q %d times", old, n)
	}
	*example = strings.Replace(*example, old, replacement, 1)
}

func (l *libvirt) tryVirsh(ctx context.Context, args ...string) (string, error) {
	connect := []string{"--quiet", "--connect", "qemu:///system?socket=" + filepath.Join(l.dir, "libvirt-sock")}
	out, err := exec.CommandContext(ctx, "virsh", append(connect, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (l *libvirt) virsh(t *testing.T, ctx context.Context, args ...string) string {
	t.Helper()
	out, err := l.tryVirsh(ctx, args...)
	if err != nil {
		t.Fatalf("virsh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// file is the end of a file in l.dir.
func (l *libvirt) file(name string) string {
	b, _ := os.ReadFile(filepath.Join(l.dir, name))
	return string(b[max(0, len(b)-4096):])
}

func (l *libvirt) console(domain string) string { return l.file(domain + ".console") }

// folder makes a folder that QEMU can write to.
func (l *libvirt) folder(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.Mkdir(path, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, libvirtQEMU, -1); err != nil {
		t.Fatal(err)
	}
	return path
}

// define defines a domain by an example, with a test guest in it, with less memory, and with one
// processor unless the example has a queue pair for each.
func (l *libvirt) define(t *testing.T, s *swtest.Switch, file, name, ip string) {
	t.Helper()
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(filepath.Join(root, "qemu-examples", file))
	if err != nil {
		t.Fatal(err)
	}
	// The comment at the top has paths as well.
	_, xml, _ := strings.Cut(string(example), "-->")
	xml = memoryElement.ReplaceAllString(xml, "<memory unit='MiB'>256</memory>")
	xml = strings.ReplaceAll(xml, "<vcpu>2</vcpu>", "<vcpu>1</vcpu>")
	replace(t, &xml, "<domain type='kvm'>", "<domain type='qemu'>")
	if strings.Contains(xml, guestSockets) {
		replace(t, &xml, guestSockets, filepath.Join(l.dir, "guests"))
	} else {
		replace(t, &xml, "/run/vswitchd/", s.Dir+"/")
	}
	replace(t, &xml, "hvm</type>", "hvm</type><kernel>/var/lib/libvirt/guest/kernel</kernel><initrd>/var/lib/libvirt/guest/initramfs</initrd>"+
		"<cmdline>"+vm.Config{IPs: []string{ip + "/24"}}.KernelParams()+"</cmdline>")
	replace(t, &xml, "<devices>", "<devices><emulator>/var/lib/libvirt/lab/qemu-10</emulator>"+
		"<serial type='file'><source path='"+filepath.Join(l.dir, name+".console")+"'/></serial>"+
		"<serial type='unix'><source mode='bind' path='"+filepath.Join(l.folder(t, name), "agent")+"'/></serial>")
	definition := filepath.Join(l.dir, name+".xml")
	if err := os.WriteFile(definition, []byte(xml), 0o600); err != nil {
		t.Fatal(err)
	}
	l.virsh(t, t.Context(), "define", definition)
}

var memoryElement = regexp.MustCompile(`<memory unit='MiB'>\d+</memory>`)

// A libvirtGuest is the agent of the guest in a domain.
type libvirtGuest struct {
	*vm.Agent
	name string
}

// agent returns when the guest is ready.
func (l *libvirt) agent(t *testing.T, ctx context.Context, domain string) *libvirtGuest {
	t.Helper()
	agent, err := vm.DialAgent(ctx, filepath.Join(l.dir, domain, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(agent.Close)
	if err := agent.WaitReboot(ctx, ""); err != nil {
		t.Fatalf("domain %s: %v\n%s", domain, err, l.console(domain))
	}
	return &libvirtGuest{agent, domain}
}

func (g *libvirtGuest) run(t *testing.T, ctx context.Context, command string) string {
	t.Helper()
	result, err := g.Run(ctx, command)
	if err != nil || result.Exit != 0 {
		t.Fatalf("domain %s: %s: %v, %+v", g.name, command, err, result)
	}
	return strings.TrimSpace(result.Stdout)
}

func (g *libvirtGuest) wait(t *testing.T, ctx context.Context, condition string) {
	t.Helper()
	g.run(t, ctx, "until "+condition+"; do sleep 0.1; done")
}

func (g *libvirtGuest) boot(t *testing.T, ctx context.Context) string {
	t.Helper()
	return g.run(t, ctx, "cat /proc/sys/kernel/random/boot_id")
}

// ping waits for the first reply, and then wants every one, also those that come late: see
// [vm.VM.PingAll].
func (g *libvirtGuest) ping(t *testing.T, ctx context.Context, addr string) {
	t.Helper()
	g.wait(t, ctx, "ping -n -q -c 1 -W 1 "+addr+" >/dev/null")
	before := g.echoReplies(t, ctx)
	r, err := vm.ParsePing(g.run(t, ctx, "ping -n -q -c 50 -i 0.01 -W 10 "+addr))
	if err != nil {
		t.Fatal(err)
	}
	swtest.Until(t, "domain "+g.name+" has a reply to each ping", func() bool { return g.echoReplies(t, ctx) >= before+r.Sent })
}

func (g *libvirtGuest) echoReplies(t *testing.T, ctx context.Context) int {
	t.Helper()
	n, err := vm.ParseEchoReplies(g.run(t, ctx, "cat /proc/net/snmp /proc/net/snmp6"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
