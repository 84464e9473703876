package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/internal/control"
	"vswitchd/internal/unixsock"
)

// signal sends signals in this order.
func (p *process) signal(signals ...os.Signal) {
	p.t.Helper()
	for _, s := range signals {
		if err := p.cmd.Process.Signal(s); err != nil {
			p.t.Fatal(err)
		}
	}
}

// rest returns what is still logged, and the exit code when the process has ended.
func (p *process) rest() (log string, code int) {
	var b strings.Builder
	for p.log.Scan() {
		b.WriteString(p.log.Text() + "\n")
	}
	p.cmd.Wait()
	return b.String(), p.cmd.ProcessState.ExitCode()
}

// hold has this process make a socket of that name, as far as others can tell.
func hold(t *testing.T, path string) {
	t.Helper()
	unlock, err := unixsock.Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
}

// A reload waits for a socket that another process is just making, and more reloads are asked for
// than anybody could remember. The end comes at once all the same.
func TestReloadsDoNotHoldUpTheEnd(t *testing.T) {
	dir := t.TempDir()
	head := "[control]\nsocket = \"" + filepath.Join(dir, "c") + "\"\n[switch]\nsocket_dir = \"" + dir + "\"\n[port.a]\n"
	p := begin(t, "--config", write(t, dir, head))
	hold(t, filepath.Join(dir, "b.sock"))
	write(t, dir, head+"[port.b]\n")
	for range 20 {
		p.signal(syscall.SIGHUP)
	}
	p.signal(syscall.SIGTERM)
	log, code := p.rest()
	if code != 0 || strings.Contains(log, unixsock.ErrHeld.Error()) {
		t.Errorf("exit code %d:\n%s", code, log)
	}
	for _, name := range []string{"a.sock", "b.sock", "c"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left", name)
		}
	}
}

// A reload that never comes back (the file is a pipe into which nobody writes) holds up neither
// the end nor what the control API tells.
func TestReloadThatHangs(t *testing.T) {
	dir := t.TempDir()
	ctl := filepath.Join(dir, "c")
	file := write(t, dir, "[control]\nsocket = \""+ctl+"\"\n[switch]\nsocket_dir = \""+dir+"\"\n[port.a]\n")
	p := begin(t, "--config", file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP, syscall.SIGHUP)
	if _, err := control.NewClient(ctl).Get(t.Context(), "/v1/ports/a"); err != nil {
		t.Error(err)
	}
	if log, code := p.endWith(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d:\n%s", code, log)
	}
}

// endWith sends signals and returns what is logged until the end, and the exit code.
func (p *process) endWith(signals ...os.Signal) (log string, code int) {
	p.t.Helper()
	p.signal(signals...)
	return p.rest()
}

// Who asks a second time does not want to wait.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	dir := t.TempDir()
	ctl := filepath.Join(dir, "c")
	file := write(t, dir, "[control]\nsocket = \""+ctl+"\"\n[switch]\nsocket_dir = \""+dir+"\"\n")
	p := begin(t, "--config", file)
	// A request that is not answered keeps the control API for a while.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	asked := make(chan error)
	go func() {
		_, err := control.NewClient(ctl).Post(t.Context(), "/v1/reload")
		asked <- err
	}()
	// The pipe can be opened for writing when it has been opened for reading: the request is there.
	pipe, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	log, code := p.endWith(syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCONT)
	if code != 1 || !strings.Contains(log, "stopped at once by a second signal") {
		t.Errorf("exit code %d:\n%s", code, log)
	}
	if <-asked == nil {
		t.Error("the reload was answered")
	}
}

// SIGHUP that comes when there is nothing left to reload does not change how vswitchd ends.
func TestHangUpWhileStopping(t *testing.T) {
	for range 5 {
		dir := t.TempDir()
		p := begin(t, "--control", filepath.Join(dir, "c"), "--port", "a="+filepath.Join(dir, "a.sock"))
		p.signal(syscall.SIGTERM)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for unix.Kill(p.cmd.Process.Pid, unix.SIGHUP) == nil && !zombie(p.cmd.Process.Pid) {
			}
		}()
		for p.log.Scan() {
		}
		<-ended
		p.cmd.Wait()
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Fatalf("%v", p.cmd.ProcessState)
		}
	}
}

// zombie reports whether a child has ended, and leaves its end to be waited for.
func zombie(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}

// A signal that comes while vswitchd is still starting ends it as well.
func TestEndWhileStarting(t *testing.T) {
	for _, held := range []string{"c", "a.sock"} {
		dir := t.TempDir()
		hold(t, filepath.Join(dir, held))
		p := spawn(t, exec.Command(program, "--control", filepath.Join(dir, "c"),
			"--port", "a="+filepath.Join(dir, "a.sock"), "--log-level", "debug"))
		p.waitFor("starting")
		if log, code := p.endWith(syscall.SIGTERM); code != 0 || strings.Contains(log, unixsock.ErrHeld.Error()) {
			t.Errorf("exit code %d:\n%s", code, log)
		}
		left, _ := filepath.Glob(filepath.Join(dir, "*[^k]"))
		if left != nil {
			t.Errorf("%v is left", left)
		}
	}
}
