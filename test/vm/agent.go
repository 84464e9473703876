package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vswitchd/test/guest"
)

// A Result is how a command in the guest ended.
type Result = guest.Result

// ErrRebooted is what a command gets that was running when the guest started again.
var ErrRebooted = errors.New("the guest has rebooted")

// Run runs a command with the guest's shell. The error says that the command's result is not known; an exit status other
// than 0 is not an error. When ctx ends, the command is killed.
func (vm *VM) Run(ctx context.Context, command string) (*Result, error) {
	result, err := vm.agent.run(ctx, command)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %s: %w", vm.Config.Name, command, err)
	}
	return result, nil
}

// Output runs a command and returns what it wrote to its standard output. Here an exit status other than 0 is an error,
// which has the standard error in it.
func (vm *VM) Output(ctx context.Context, command string) (string, error) {
	result, err := vm.Run(ctx, command)
	if err != nil {
		return "", err
	}
	if result.Exit != 0 {
		return result.Stdout, fmt.Errorf("guest %s: %s: exit %d %s\n%s%s", vm.Config.Name, command, result.Exit, result.Error, result.Stdout, result.Stderr)
	}
	return result.Stdout, nil
}

// MustRun is Output for commands that cannot fail unless the test has: it gives them a minute.
func (vm *VM) MustRun(t testing.TB, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := vm.Output(ctx, command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Boot identifies the guest's present boot: it changes with a reboot. It is empty before the guest was first ready.
func (vm *VM) Boot() string {
	boot, _ := vm.agent.state()
	return boot
}

// WaitReady returns when the guest has booted and has its addresses.
func (vm *VM) WaitReady(ctx context.Context) error { return vm.WaitReboot(ctx, "") }

// WaitReboot returns when the guest is ready in another boot than the one named.
func (vm *VM) WaitReboot(ctx context.Context, boot string) error {
	if err := vm.agent.waitReboot(ctx, boot); err != nil {
		return fmt.Errorf("guest %s: wait until ready: %w\n%s", vm.Config.Name, err, vm.Console(2048))
	}
	return nil
}

// Reboot has the guest shut down and start again, and returns when it is ready.
func (vm *VM) Reboot(ctx context.Context) error {
	boot := vm.Boot()
	if _, err := vm.Output(ctx, "reboot"); err != nil {
		return err
	}
	return vm.WaitReboot(ctx, boot)
}

// Rebind takes the virtio device away from its driver and gives it back, and returns when eth0 has its addresses again.
func (vm *VM) Rebind(ctx context.Context) error {
	script := `dev=$(basename $(readlink -f /sys/class/net/eth0/device)) && cd /sys/bus/virtio/drivers/virtio_net &&
		echo $dev >unbind && test ! -e /sys/class/net/eth0 && echo $dev >bind`
	if _, err := vm.Output(ctx, script); err != nil {
		return err
	}
	return vm.WaitAddresses(ctx)
}

// WaitAddresses returns when eth0 has the addresses of Config.IPs: after it was plugged in, for one.
func (vm *VM) WaitAddresses(ctx context.Context) error {
	var have strings.Builder
	have.WriteString("true")
	for _, ip := range vm.Config.IPs {
		fmt.Fprintf(&have, " && ip address show dev eth0 2>/dev/null | grep -qF ' %s '", ip)
	}
	_, err := vm.Output(ctx, "until "+have.String()+"; do sleep 0.05; done")
	return err
}

// An agent is the host's end of the guest's second serial port.
type agent struct {
	conn net.Conn

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan<- *Result
	boot    string
	changed chan struct{} // closed and replaced when boot changes
	gone    bool          // the connection is: QEMU has exited
}

func newAgent(conn net.Conn) *agent {
	a := &agent{conn: conn, waiting: make(map[uint64]chan<- *Result), changed: make(chan struct{})}
	go a.receive()
	return a
}

func (a *agent) close() { a.conn.Close() }

func (a *agent) receive() {
	lines := bufio.NewReader(a.conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var message guest.Message
		if json.Unmarshal(line, &message) != nil {
			continue // the firmware's, or cut short by a reset
		}
		a.mu.Lock()
		switch {
		case message.Ready != nil && message.Ready.Boot != a.boot:
			a.boot = message.Ready.Boot
			a.dropWaiting()
			close(a.changed)
			a.changed = make(chan struct{})
		case message.Result != nil:
			if ch, ok := a.waiting[message.Result.ID]; ok {
				ch <- message.Result
				delete(a.waiting, message.Result.ID)
			}
		}
		a.mu.Unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = true
	a.dropWaiting()
	close(a.changed)
	a.changed = make(chan struct{})
}

// dropWaiting tells everyone who waits for a result that it will not come.
func (a *agent) dropWaiting() {
	for id, ch := range a.waiting {
		close(ch)
		delete(a.waiting, id)
	}
}

func (a *agent) state() (boot string, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.boot, a.changed
}

func (a *agent) isGone() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.gone
}

func (a *agent) waitReboot(ctx context.Context, old string) error {
	// The guest announces itself, but may have done so before this end was there to hear: after a migration, for one.
	ask := time.NewTicker(time.Second)
	defer ask.Stop()
	for {
		boot, changed := a.state()
		switch {
		case a.isGone():
			return ErrExited
		case boot != old:
			return nil
		}
		select {
		case <-changed:
		case <-ask.C:
			a.write([]byte("\n")) // an error shows as gone
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *agent) run(ctx context.Context, command string) (*Result, error) {
	request := guest.Request{Command: command}
	if deadline, ok := ctx.Deadline(); ok {
		request.TimeoutMS = max(1, time.Until(deadline).Milliseconds())
	}
	done := make(chan *Result, 1)
	a.mu.Lock()
	if a.gone {
		a.mu.Unlock()
		return nil, ErrExited
	}
	a.lastID++
	request.ID = a.lastID
	a.waiting[request.ID] = done
	a.mu.Unlock()

	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if err := a.write(append(line, '\n')); err != nil {
		return nil, errors.Join(ErrExited, err)
	}
	select {
	case result, ok := <-done:
		switch {
		case ok:
			return result, nil
		case a.isGone():
			return nil, ErrExited
		default:
			return nil, ErrRebooted
		}
	case <-ctx.Done():
		a.mu.Lock()
		delete(a.waiting, request.ID)
		a.mu.Unlock()
		return nil, ctx.Err()
	}
}

// write sends a whole line; a unix socket write is not interleaved with another's by package net.
func (a *agent) write(line []byte) error {
	_, err := a.conn.Write(line)
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
		case <-vm.exited:
			return nil, fmt.Errorf("%w: %v", ErrExited, vm.cmd.ProcessState)
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to QEMU: %w: %w", ctx.Err(), err)
		case <-retry.C:
		}
	}
}
