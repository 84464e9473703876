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

// rest reads the log until the process ends, and returns it with the exit code.
func (p *process) rest() (log string, code int) {
	var b strings.Builder
	for p.log.Scan() {
		b.WriteString(p.log.Text() + "\n")
	}
	p.cmd.Wait()
	return b.String(), p.cmd.ProcessState.ExitCode()
}

// hold takes the lock of a socket's path, so that other processes wait as if this process were
// making the socket.
func hold(t *testing.T, path string) {
	t.Helper()
	unlock, err := unixsock.Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
}

// SIGTERM stops vswitchd without delay, although a reload is waiting for a socket that another
// process is making and many more reloads are pending.
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

// A reload that never returns (the file is a pipe without a writer) blocks neither the stop nor the
// control API.
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

// endWith sends signals and returns the rest of the log and the exit code.
func (p *process) endWith(signals ...os.Signal) (log string, code int) {
	p.t.Helper()
	p.signal(signals...)
	return p.rest()
}

// A second signal ends vswitchd without waiting for an orderly stop.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	dir := t.TempDir()
	ctl := filepath.Join(dir, "c")
	file := write(t, dir, "[control]\nsocket = \""+ctl+"\"\n[switch]\nsocket_dir = \""+dir+"\"\n")
	p := begin(t, "--config", file)
	// A request that is not answered delays the stop of the control API.
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
	// Opening the pipe for writing succeeds only after the reload has opened it for reading. The
	// request has then arrived.
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

// SIGHUP during the stop does not change the exit code.
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

// zombie reports whether a child process has ended, without reaping it.
func zombie(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}

// A signal during the start stops vswitchd as well.
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
