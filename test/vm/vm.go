package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"vswitchd/test/child"
)

// A VM is a QEMU process, or User Mode Linux's, and the guest in it. Its methods may be called at
// the same time.
type VM struct {
	Config Config // with its defaults filled in

	dir     string
	process *child.Process
	agent   *Agent
	qmp     *qmp
}

// BootTimeout is how long Start gives a guest. An emulated one needs about five seconds of a whole
// core.
const BootTimeout = 2 * time.Minute

// Start boots a guest and returns when it is ready. It fails the test otherwise. The guest is gone
// when the test ends; if the test failed by then, the end of the guest's console is in its log.
func Start(t testing.TB, config Config) *VM {
	t.Helper()
	return StartAll(t, config)[0]
}

// StartAll boots guests side by side.
func StartAll(t testing.TB, configs ...Config) []*VM {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), BootTimeout)
	defer cancel()
	began := time.Now()
	vms := make([]*VM, len(configs))
	for i, config := range configs {
		vm, err := Launch(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		vms[i] = vm
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("guest %s, end of its console:\n%s", vm.Config.Name, vm.Console(4096))
			}
			vm.Close()
		})
	}
	for _, vm := range vms {
		if vm.Config.Incoming {
			continue
		}
		if err := vm.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("guest %s (QEMU %s) ready after %.1f s", vm.Config.Name, vm.Config.QEMU, time.Since(began).Seconds())
	}
	return vms
}

// Launch starts QEMU and returns when its monitor answers; the guest may still be booting, see
// [VM.WaitReady]. ctx bounds the start only. Whoever launches a guest must Close it.
func Launch(ctx context.Context, config Config) (*VM, error) {
	if config.QEMU == UML {
		return launch(ctx, config, "")
	}
	if config.CPU.foreign() {
		return launch(ctx, config, "tcg")
	}
	accel, err := Accel(ctx)
	if err != nil {
		return nil, err
	}
	return launch(ctx, config, accel)
}

func launch(ctx context.Context, config Config, accel string) (vm *VM, err error) {
	config.setDefaults()
	defer func() {
		if err != nil {
			err = fmt.Errorf("guest %s: %w", config.Name, err)
		}
	}()
	program, err := config.program()
	if err != nil {
		return nil, err
	}
	img, err := config.CPU.image()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "vm-")
	if err != nil {
		return nil, err
	}
	vm = &VM{Config: config, dir: dir}
	connect := vm.connect
	var cmd *exec.Cmd
	if config.QEMU == UML {
		var agent net.Conn
		if cmd, agent, err = config.umlCommand(program, dir, img); err != nil {
			os.RemoveAll(dir)
			return nil, err
		}
		defer closeInherited(cmd)
		vm.agent, connect = newAgent(agent), func(context.Context) error { return nil }
	} else {
		cmd = config.command(program, dir, accel, img)
	}
	if err := vm.startProcess(cmd); err != nil {
		if vm.agent != nil {
			vm.agent.Close()
		}
		os.RemoveAll(dir)
		return nil, err
	}
	if err := connect(ctx); err != nil {
		err = fmt.Errorf("%w\n%s", err, vm.stderr())
		vm.Close()
		return nil, err
	}
	return vm, nil
}

func (vm *VM) startProcess(cmd *exec.Cmd) error {
	stderr, err := os.Create(filepath.Join(vm.dir, "stderr"))
	if err != nil {
		return err
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	vm.process, err = child.Start(cmd, nil)
	return err
}

func (vm *VM) connect(ctx context.Context) error {
	conn, err := vm.dial(ctx, "agent")
	if err != nil {
		return err
	}
	vm.agent = newAgent(conn)
	if conn, err = vm.dial(ctx, "qmp"); err != nil {
		return err
	}
	vm.qmp, err = newQMP(ctx, conn)
	return err
}

// dial connects to a socket that QEMU makes as it starts.
func (vm *VM) dial(ctx context.Context, name string) (net.Conn, error) {
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(vm.dir, name))
		if err == nil {
			return conn, nil
		}
		select {
		case <-vm.process.Exited():
			return nil, fmt.Errorf("%w: %v", ErrExited, vm.process.State())
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to QEMU: %w: %w", ctx.Err(), err)
		case <-retry.C:
		}
	}
}

// ErrExited is returned by what needs the QEMU process when that is gone.
var ErrExited = errors.New("QEMU has exited")

// PID is the QEMU process's.
func (vm *VM) PID() int { return vm.process.PID() }

// Kill ends the QEMU process with SIGKILL and returns when it is gone. The VM must still be closed.
func (vm *VM) Kill() { vm.process.Kill() }

// Wait returns when the QEMU process is gone, with nil if it ended with exit status 0, as it does
// after a power-off and after quit.
func (vm *VM) Wait(ctx context.Context) error {
	select {
	case <-vm.process.Exited():
	case <-ctx.Done():
		return fmt.Errorf("guest %s: wait for QEMU's exit: %w", vm.Config.Name, ctx.Err())
	}
	if state := vm.process.State(); !state.Success() {
		return fmt.Errorf("guest %s: QEMU: %v\n%s", vm.Config.Name, state, vm.stderr())
	}
	return nil
}

// Close kills QEMU if need be, and removes the guest's files. It may be called twice.
func (vm *VM) Close() {
	vm.Kill()
	if vm.agent != nil {
		vm.agent.Close()
	}
	if vm.qmp != nil {
		vm.qmp.close()
	}
	os.RemoveAll(vm.dir)
}

// Console returns the last n bytes of what the guest's kernel and agent printed, and of QEMU's own
// messages.
func (vm *VM) Console(n int) string {
	return tail(filepath.Join(vm.dir, "console"), n) + vm.stderr()
}

func (vm *VM) stderr() string { return tail(filepath.Join(vm.dir, "stderr"), 2048) }

func tail(path string, n int) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	if size, err := file.Seek(0, io.SeekEnd); err == nil {
		file.Seek(max(0, size-int64(n)), io.SeekStart)
	}
	text, _ := io.ReadAll(file)
	return string(bytes.ToValidUTF8(text, []byte("?")))
}

// tryKVM says whether a guest comes up under KVM. One that does takes a second or two.
func tryKVM(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	vm, err := launch(ctx, Config{Name: "try-kvm", NoNIC: true}, "kvm")
	if err != nil {
		return err
	}
	defer vm.Close()
	return vm.WaitReady(ctx)
}
