//go:build e2e && long

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
	"vswitchd/test/walkthrough"
)

// An example is a section of qemu-examples/README.md that is being followed, to the letter, on a
// copy of the folder. The test guest takes the place of the reader's disks.
//
// Blocks of "sh" are for the host; further words are the names of the guests in which the block is
// run, as -name has them. If the last word is "fails", the block has to fail.
type example struct {
	t      *testing.T
	ctx    context.Context
	agents string // folder of the guests' sockets
	guests map[string]*vm.Agent
	shell  *walkthrough.Shell
	blocks []walkthrough.Block // which have not been run yet
}

// startExample opens a shell in new network, process and mount namespaces, so that everything ends
// with the test.
func startExample(t *testing.T, heading string) *example {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.BuildImage(); err != nil {
		t.Fatal(err)
	}
	accel, err := vm.Accel(ctx)
	if err != nil {
		t.Fatal(err)
	}
	e := &example{t: t, ctx: ctx, agents: shortDir(t), guests: make(map[string]*vm.Agent)}
	folder := filepath.Join(t.TempDir(), "qemu-examples")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "qemu-examples"))); err != nil {
		t.Fatal(err)
	}
	if e.blocks, err = walkthrough.Blocks(filepath.Join(folder, "README.md"), heading); err != nil {
		t.Fatal(err)
	}
	build := filepath.Join(root, "build")
	e.shell, err = walkthrough.Start(func(program string, args ...string) *exec.Cmd {
		const inside = `mount -t tmpfs run /run && ip link set lo up && exec "$@"`
		unshare := []string{"--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", inside, "sh", program}
		cmd := exec.Command("unshare", append(unshare, args...)...)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(),
			"PATH="+build+":"+build+"/lab/tree/prometheus/usr/bin:"+os.Getenv("PATH")+":/usr/sbin:/sbin",
			"QEMU="+root+"/test/guest/qemu", "ACCEL="+accel,
			"GUEST_QEMU="+build+"/lab/qemu-10", "GUEST_IMAGE="+build+"/guest",
			"GUEST_PARAMS="+vm.Config{}.KernelParams(), "GUEST_AGENTS="+e.agents)
		return cmd
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the shell has printed:\n%s", e.shell.Output())
		}
		e.shell.Close()
	})
	return e
}

// follow runs the next n blocks.
func (e *example) follow(n int) {
	e.t.Helper()
	for _, b := range e.blocks[:n] {
		if !b.Is("sh") {
			continue
		}
		guests := b.Words[1:]
		want := 0
		if len(guests) > 0 && guests[len(guests)-1] == "fails" {
			guests, want = guests[:len(guests)-1], 1
		}
		for _, name := range guests {
			result, err := e.guest(name).Run(e.ctx, "set -e\n"+b.Text)
			if err != nil || result.Exit != want {
				e.t.Fatalf("%v, in guest %s: %v, %+v", b, name, err, result)
			}
			e.t.Logf("%v, in guest %s:\n%s%s", b, name, result.Stdout, result.Stderr)
		}
		if len(guests) > 0 {
			continue
		}
		if _, err := e.shell.Run(e.ctx, b.Text); err != nil {
			e.t.Fatalf("%v: %v", b, err)
		}
	}
	e.blocks = e.blocks[n:]
}

// followAll runs the remaining blocks.
func (e *example) followAll() {
	e.t.Helper()
	e.follow(len(e.blocks))
}

// guest returns the agent of a guest, when the guest is ready.
func (e *example) guest(name string) *vm.Agent {
	e.t.Helper()
	if agent := e.guests[name]; agent != nil {
		return agent
	}
	var agent *vm.Agent
	swtest.Until(e.t, "guest "+name+" is started", func() bool {
		var err error
		agent, err = vm.DialAgent(e.ctx, filepath.Join(e.agents, name))
		return err == nil
	})
	e.t.Cleanup(agent.Close)
	if err := agent.WaitReboot(e.ctx, ""); err != nil {
		console, _ := os.ReadFile(filepath.Join(e.agents, name+".console"))
		e.t.Fatalf("guest %s: %v\n%s", name, err, console)
	}
	e.guests[name] = agent
	return agent
}

// output runs a command in a guest.
func (e *example) output(guest, command string) string {
	e.t.Helper()
	result, err := e.guest(guest).Run(e.ctx, command)
	if err != nil || result.Exit != 0 {
		e.t.Fatalf("guest %s: %s: %v, %+v", guest, command, err, result)
	}
	return strings.TrimSpace(result.Stdout)
}

// printed wants the shell to have printed lines that match.
func (e *example) printed(patterns ...string) {
	e.t.Helper()
	for _, pattern := range patterns {
		if !regexp.MustCompile(`(?m)` + pattern).MatchString(e.shell.Output()) {
			e.t.Errorf("nothing was printed that matches %s", pattern)
		}
	}
}

func TestExampleTenants(t *testing.T) {
	e := startExample(t, "Two tenants with the same addresses")
	e.followAll()
	e.printed(`52:54:00:00:00:01 +10 +red `, `52:54:00:00:00:01 +20 +blue `)
}

func TestExampleMigration(t *testing.T) {
	e := startExample(t, "A guest moves to another host")
	last := len(e.blocks) - 1
	e.follow(last - 1)
	boot := e.output("vm1", "cat /proc/sys/kernel/random/boot_id")
	e.follow(1) // the move
	if now := e.output("vm1-moved", "cat /proc/sys/kernel/random/boot_id"); now != boot {
		t.Error("the guest has not moved, but booted")
	}
	const connections = "netstat -tn | awk '/:5201/ && /ESTABLISHED/ { print $5 }' | sort"
	before := e.output("vm1-moved", connections)
	if before == "" {
		t.Error("the guest has lost its TCP connections")
	}
	e.output("vm1-moved", `rx() { cat /sys/class/net/eth0/statistics/rx_bytes; }
		start=$(rx); until [ $(rx) -gt $((start + 1000000)) ]; do sleep 0.1; done`)
	if after := e.output("vm1-moved", connections); after != before {
		t.Errorf("TCP connections were %s, and are %s", before, after)
	}
	e.follow(1)
	e.printed(`52:54:00:00:00:01 +0 +lan `, `52:54:00:00:00:01 +0 +vm1 `)
}

func TestExampleRouters(t *testing.T) {
	e := startExample(t, "A lab of routers")
	e.follow(len(e.blocks) - 2) // until a wire is cut
	const partner = "grep 'Partner Mac' /proc/net/bonding/bond1"
	if found := e.output("r1", partner); !strings.Contains(found, " 52:54:00:00:02:10") {
		t.Errorf("r1 has not found r2 by LACP: %s", found)
	}
	e.followAll()
}

func TestExamplePrometheus(t *testing.T) {
	startExample(t, "Prometheus").followAll()
}
