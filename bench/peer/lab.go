package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/test/child"
	"vswitchd/vhostuser/vhostusertest"
)

// A Lab is where back-ends run. Its methods may be called from any goroutine.
type Lab struct {
	Build string // the folder with vswitchd and lab/, which scripts/install-peers.sh fills
	Dir   string // for sockets and logs
	CPU   int    // of back-ends, or AnyCPU

	mu      sync.Mutex
	closed  bool
	running map[*process]bool
	wires   map[string]*Wire // by name

	releasePages func() error // nil: HugePages has not been called
}

// NewLab makes a lab. It has to be closed.
func NewLab(build string, cpu int) (*Lab, error) {
	dir, err := os.MkdirTemp("", "vswitchd-bench-")
	if err != nil {
		return nil, err
	}
	return &Lab{Build: build, Dir: dir, CPU: cpu, running: make(map[*process]bool), wires: make(map[string]*Wire)}, nil
}

// WithLab makes a lab, has run do something in it, and closes the lab. build is the folder with
// vswitchd, relative to the working directory or not.
//
// When ctx is done (an interrupt), the lab is closed at once, which ends what runs in it. run has a
// moment to notice; whatever it has done to threads of this process ends with the process.
func WithLab(ctx context.Context, build string, cpu int, run func(context.Context, *Lab) error) (err error) {
	path, err := filepath.Abs(build)
	if err != nil {
		return err
	}
	l, err := NewLab(path, cpu)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	done := make(chan error, 1)
	go func() { done <- run(ctx, l) }()
	select {
	case err = <-done:
		return err
	case <-ctx.Done():
	}
	err = errors.Join(context.Cause(ctx), l.Close())
	select {
	case <-done:
	case <-time.After(patience):
	}
	return err
}

// ErrClosed says that the lab has been closed.
var ErrClosed = errors.New("the lab is closed")

// Close ends what still runs, gives back the huge pages and removes all files.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	for p := range l.running {
		p.Kill()
	}
	err := l.release()
	for _, w := range l.wires {
		err = errors.Join(err, w.remove())
	}
	return errors.Join(err, os.RemoveAll(l.Dir))
}

// start starts a process on the back-ends' processor, with its output in a file of the lab's.
func (l *Lab) start(name string, cmd *exec.Cmd) (*process, error) {
	return l.startOn(l.CPU, 0, name, cmd)
}

// startOn starts a process on a processor, with a priority as Boost has it; 0: none.
func (l *Lab) startOn(cpu, priority int, name string, cmd *exec.Cmd) (*process, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	log, err := os.OpenFile(filepath.Join(l.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Stderr = log
	c, err := child.Start(cmd, func() error {
		if err := Pin(cpu); err != nil || priority == 0 {
			return err
		}
		return Boost(unix.Gettid(), priority)
	})
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{Process: c, lab: l, name: name, log: log.Name()}
	l.running[p] = true
	return p, nil
}

// HugePages has the kernel provide n huge pages of 2 MiB, which DPDK needs, until Close. Open
// vSwitch needs 1024, one testpmd 256.
func (l *Lab) HugePages(n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	if l.releasePages != nil {
		return nil
	}
	release, err := vhostusertest.MoreHugePages(n)
	if err != nil {
		return err
	}
	l.releasePages = release
	return nil
}

// release gives the huge pages back. Needs l.mu.
func (l *Lab) release() error {
	if l.releasePages == nil {
		return nil
	}
	release := l.releasePages
	l.releasePages = nil
	return release()
}
