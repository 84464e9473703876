package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/test/guest"
)

// A server runs the host's commands.
type server struct {
	ready   guest.Ready
	running sync.WaitGroup // commands whose result is not written yet

	mu  sync.Mutex // makes a line whole
	tty *os.File
}

func newServer(path string) (*server, error) {
	tty, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if err := makeRaw(int(tty.Fd())); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, err
	}
	ready := guest.Ready{Boot: strings.TrimSpace(string(boot)), Kernel: strings.TrimSpace(string(kernel))}
	return &server{tty: tty, ready: ready}, nil
}

// makeRaw passes bytes through the terminal unchanged, and without echo. The rate decides how long
// QEMU's serial port waits before it hands over the end of a line; it sends as fast as it can
// whatever the rate.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

func (s *server) send(m guest.Message) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.tty.Write(append(line, '\n'))
	return err
}

// announce says that the guest is ready. The newline before it ends whatever the firmware wrote.
func (s *server) announce() error {
	if _, err := s.tty.WriteString("\n"); err != nil {
		return err
	}
	return s.send(guest.Message{Ready: &s.ready})
}

func (s *server) serve() {
	lines := bufio.NewReader(s.tty)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			fmt.Println("agent: serial port:", err)
			return
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			s.announce()
			continue
		}
		var request guest.Request
		if err := json.Unmarshal(line, &request); err != nil {
			fmt.Printf("agent: not a request: %q: %v\n", line, err)
			continue
		}
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			s.send(guest.Message{Result: execute(&request)})
		}()
	}
}

// drain waits until the host has the results of the commands that have ended, or are about to: of
// the one, above all, that asked for the reboot. Those that go on running do not hold it up for
// long.
func (s *server) drain() {
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(500 * time.Millisecond):
	}
	unix.IoctlSetInt(int(s.tty.Fd()), unix.TCSBRK, 1) // waits for the output buffer to empty
}

func execute(request *guest.Request) *guest.Result {
	ctx := context.Background()
	if request.TimeoutMS > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(request.TimeoutMS)*time.Millisecond)
		defer cancel()
	}
	var stdout, stderr limitedBuffer
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", request.Command)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // a child left in the background may hold the pipes open for ever

	err := cmd.Run()
	result := &guest.Result{ID: request.ID, Exit: -1, Stdout: stdout.String(), Stderr: stderr.String()}
	if cmd.ProcessState != nil {
		result.Exit = cmd.ProcessState.ExitCode()
	}
	var status *exec.ExitError
	switch {
	case ctx.Err() != nil:
		result.Error = fmt.Sprintf("killed after %d ms", request.TimeoutMS)
	case err != nil && !errors.As(err, &status) && !errors.Is(err, exec.ErrWaitDelay):
		result.Error = err.Error()
	}
	return result
}

// A limitedBuffer keeps the first guest.MaxOutput bytes and takes the rest without keeping it.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), guest.MaxOutput-b.Len())])
	return len(p), nil
}
