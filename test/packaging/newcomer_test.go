//go:build e2e && long

package packaging

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vswitchd/test/vm"
	"vswitchd/test/walkthrough"
)

// TestNewcomer follows README.md to the letter, as someone does who has a fresh Debian system, the
// package in a file, and two guests' disks: from the installation to guests that talk. The test
// guest takes the place of the disks.
//
// The system has no network. Its apt has downloaded QEMU before, and answers its questions.
func TestNewcomer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	s := boot(t)
	s.put(build(t), "/root/vswitchd_0_amd64.deb", 0o644)
	s.write("/etc/apt/apt.conf.d/90newcomer", "APT::Get::Assume-Yes \"true\";\n")
	agents := s.installGuests()
	walkthrough.NewWalk(ctx, t, s.shell(), agents, s.blocks("README.md", "Begin with two guests")).FollowAll()
	if out := s.run("vswitchctl", "port", "show"); strings.Count(out, "running") != 2 {
		t.Errorf("after the first steps, ports are:\n%s", out)
	}
	s.run("systemctl", "restart", "vswitchd")
	if out := s.run("vswitchctl", "port", "show"); !strings.Contains(out, "web") || !strings.Contains(out, "db") {
		t.Errorf("the ports are gone after a restart:\n%s", out)
	}
}

// TestNewcomerWithAClone builds and installs vswitchd by the commands in README.md, in a clone of
// this repository, and sets up the service by those in docs/service.md.
func TestNewcomerWithAClone(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	dir := clone(t)
	installed := filepath.Join(t.TempDir(), "installed.tar")
	// What is installed goes into layers over /usr/local and /etc of this machine.
	const layers = `mount -t tmpfs run /run
		for dir in /usr/local /etc; do
			mkdir -p "/run/upper$dir" "/run/work$dir"
			mount -t overlay none -o "lowerdir=$dir,upperdir=/run/upper$dir,workdir=/run/work$dir" "$dir"
		done
		exec "$@"`
	shell, err := walkthrough.Start(func(program string, args ...string) *exec.Cmd {
		cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-ec", layers, "sh", program}, args...)...)
		cmd.Dir = dir
		return cmd
	})
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := walkthrough.Blocks(filepath.Join(dir, "README.md"), "Build it")
	if err != nil {
		t.Fatal(err)
	}
	walkthrough.NewWalk(ctx, t, shell, "", blocks).FollowAll()
	if _, err := shell.Run(ctx, "tar -C /run/upper -cf "+installed+" ."); err != nil {
		t.Fatal(err)
	}

	s := boot(t)
	if out, err := exec.Command("tar", "-C", s.path("/"), "-xf", installed).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	blocks = s.blocks("docs/service.md", "vswitchd as a service")
	walkthrough.NewWalk(ctx, t, s.shell(), "", blocks).FollowAll()
	if state := s.property("ActiveState"); state != "active" {
		t.Errorf("the service is %s", state)
	}
	s.run("/usr/local/bin/vswitchctl", "show")
}

// blocks returns the code blocks of a document of this repository.
func (s *system) blocks(file, heading string) []walkthrough.Block {
	s.t.Helper()
	blocks, err := walkthrough.Blocks(filepath.Join("../..", file), heading)
	if err != nil {
		s.t.Fatal(err)
	}
	return blocks
}

// shell starts a shell of root in the system.
func (s *system) shell() *walkthrough.Shell {
	s.t.Helper()
	shell, err := walkthrough.Start(func(program string, args ...string) *exec.Cmd {
		return s.command("env", append([]string{
			"--chdir=/root", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"GUEST_QEMU=/usr/bin/qemu-system-x86_64", "GUEST_IMAGE=/root/guest",
			"GUEST_PARAMS=" + vm.Config{}.KernelParams(), "GUEST_AGENTS=/run/agents", program,
		}, args...)...)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return shell
}

// installGuests has the system's QEMU run the test guest in the place of disks, and returns the
// folder of the guests' agents.
func (s *system) installGuests() (agents string) {
	s.t.Helper()
	if err := vm.BuildImage(); err != nil {
		s.t.Fatal(err)
	}
	s.run("mkdir", "-p", "/run/agents", "/root/guest", "/usr/local/bin")
	for _, name := range []string{"kernel", "initramfs"} {
		s.put("../../build/guest/"+name, "/root/guest/"+name, 0o644)
	}
	s.put("../../test/guest/qemu", "/usr/local/bin/qemu-system-x86_64", 0o755)
	return s.path("/run/agents")
}

// put copies a file into the system.
func (s *system) put(file, name string, mode os.FileMode) {
	s.t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(s.path(name), b, mode)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}
