// Package child starts processes that do not outlive the one that starts them: vswitchd and QEMU in
// end-to-end tests, and the programs that vswitchd is measured next to.
//
// It knows nothing of what the processes are.
package child

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	_ "vswitchd/internal/platform/linux"
)

// A Process has been started and is waited for. Its methods may be called from any goroutine.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start starts cmd, which the Process owns from then on. However this process ends, the kernel ends
// the new one.
//
// If prepare is not nil, it is called first, on the thread that starts the process: what it changes
// of the thread (the processors that the thread may use, its priority) is inherited.
func Start(cmd *exec.Cmd, prepare func() error) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the signal when the thread ends that started the process. So the
		// goroutine keeps its thread until the process has ended, and never unlocks it, so that the
		// runtime does not use a thread that prepare has changed.
		runtime.LockOSThread()
		var err error
		if prepare != nil {
			err = prepare()
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended and has been waited for.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// State waits for the process to end and returns how it did.
func (p *Process) State() *os.ProcessState {
	<-p.exited
	return p.cmd.ProcessState
}

// Signal sends a signal. It fails if the process has ended.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill ends the process at once, if it has not ended yet, and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Stop asks the process to end by SIGTERM, waits, and kills it if it has not ended after grace.
func (p *Process) Stop(grace time.Duration) {
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(grace):
		p.Kill()
	}
}
