//go:build e2e && long

package packaging

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"vswitchd/test/child"
	"vswitchd/test/swtest"
)

// A system is a Debian system that runs.
type system struct {
	t     *testing.T
	first int // the process id of its systemd
}

// boot copies the Debian system that scripts/install-lab-long.sh has made, and boots the copy.
func boot(t *testing.T) *system {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("cp", "-a", "--reflink=auto", "../../build/lab/tree/debian", root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	console := new(bytes.Buffer)
	cmd := exec.Command("./boot", root)
	cmd.Stdout, cmd.Stderr = console, console
	p, err := child.Start(cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t: t}
	t.Cleanup(func() {
		if t.Failed() && s.first != 0 {
			out, _ := s.try("journalctl", "--no-pager", "--lines=60")
			t.Logf("journal:\n%s", out)
		}
		p.Kill()
		if t.Failed() {
			t.Logf("console:\n%s", console)
		}
		removeGroup(t, p.PID())
	})
	swtest.Until(t, "systemd", func() bool {
		// unshare's only child.
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			return false
		}
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		s.first = pid
		return string(name) == "systemd\n"
	})
	swtest.Until(t, "the boot to finish", func() bool {
		out, _ := s.try("systemctl", "is-system-running")
		return out == "running" || out == "degraded"
	})
	return s
}

// removeGroup removes the control groups that boot has made. They are empty once all processes of
// the system have ended.
func removeGroup(t *testing.T, boot int) {
	found, err := filepath.Glob("/sys/fs/cgroup/*/vswitchd-packaging-" + strconv.Itoa(boot))
	if err != nil || len(found) == 0 {
		found, _ = filepath.Glob("/sys/fs/cgroup/vswitchd-packaging-" + strconv.Itoa(boot))
	}
	for _, dir := range found {
		swtest.Until(t, "the control groups to be empty", func() bool {
			return exec.Command("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run() == nil
		})
	}
}

// command returns a command that runs in the system.
func (s *system) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", strconv.Itoa(s.first), "--all", "--root", "--wd=/", "env", "-i",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", name}, args...)...)
}

// try runs a command in the system, and returns what it prints, without the last newline.
func (s *system) try(name string, args ...string) (string, error) {
	out, err := s.command(name, args...).CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// run is try for a command that has to succeed.
func (s *system) run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(name, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// path returns where a file of the system is for the test.
func (s *system) path(file string) string {
	return fmt.Sprintf("/proc/%d/root%s", s.first, file)
}

func (s *system) write(file, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(file), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// property returns a property of the service.
func (s *system) property(name string) string {
	s.t.Helper()
	return s.run("systemctl", "show", "--value", "--property="+name, "vswitchd")
}

// awaitRestart waits until the service runs, with another process than before.
func (s *system) awaitRestart(before string) {
	s.t.Helper()
	swtest.Until(s.t, "the service to be restarted", func() bool {
		state := s.run("systemctl", "show", "--property=ActiveState,MainPID", "vswitchd")
		return strings.Contains(state+"\n", "ActiveState=active\n") && !strings.Contains(state+"\n", "MainPID="+before+"\n")
	})
}

// clone returns the folder of a clone of this repository.
func clone(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	if out, err := exec.Command("git", "clone", "--quiet", "--no-hardlinks", "../..", dir).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v\n%s", err, out)
	}
	return dir
}

// build makes a package from a clone of this repository, and returns the file.
func build(t *testing.T) string {
	t.Helper()
	dir := clone(t)
	if out, err := exec.Command("make", "-C", dir, "deb").CombinedOutput(); err != nil {
		t.Fatalf("make deb: %v\n%s", err, out)
	}
	debs, err := filepath.Glob(filepath.Join(dir, "build/deb/*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("packages: %v, %v", debs, err)
	}
	return debs[0]
}

// newer returns a package with the same contents and a higher version.
func newer(t *testing.T, deb string) string {
	t.Helper()
	dir := t.TempDir()
	script := `
		set -e
		dpkg-deb --raw-extract "$1" "$2/tree"
		sed -i 's/^Version: .*/&+upgrade/' "$2/tree/DEBIAN/control"
		dpkg-deb --root-owner-group --build "$2/tree" "$2/newer.deb"`
	if out, err := exec.Command("sh", "-c", script, "sh", deb, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, "newer.deb")
}

// copyIn copies a file into the system's /tmp.
func (s *system) copyIn(file string) string {
	s.t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	name := "/tmp/" + filepath.Base(file)
	if err := os.WriteFile(s.path(name), b, 0o644); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// talk has two guests exchange frames by ports of the service.
func (s *system) talk(ports ...string) {
	s.t.Helper()
	a, b := s.guest(ports[0], 1), s.guest(ports[1], 2)
	a.Talk(b.MAC(), 16)
	a.Start()
	b.Start()
	if err := a.Await(1000); err != nil {
		s.t.Error(err)
	}
	for _, guest := range []interface{ Leave() error }{a, b} {
		if err := guest.Leave(); err != nil {
			s.t.Error(err)
		}
	}
}

// watchdog is the service's interval in the test. It is long enough for a busy machine.
const watchdog = 10 * time.Second
