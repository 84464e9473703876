package vm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"vswitchd/test/guest"
)

// A Result is how a command in the guest ended.
type Result = guest.Result

// ErrRebooted is what a command gets that was running when the guest started again.
var ErrRebooted = errors.New("the guest has rebooted")

// Run runs a command with the guest's shell. The error says that the command's result is not known;
// an exit status other than 0 is not an error. When ctx ends, the command is killed.
func (vm *VM) Run(ctx context.Context, command string) (*Result, error) {
	result, err := vm.agent.Run(ctx, command)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %s: %w", vm.Config.Name, command, err)
	}
	return result, nil
}

// Output runs a command and returns what it wrote to its standard output. Here an exit status other
// than 0 is an error, which has the standard error in it.
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

// Boot identifies the guest's present boot: it changes with a reboot. It is empty before the guest
// was first ready.
func (vm *VM) Boot() string {
	boot, _ := vm.agent.state()
	return boot
}

// WaitReady returns when the guest has booted and has its addresses.
func (vm *VM) WaitReady(ctx context.Context) error { return vm.WaitReboot(ctx, "") }

// WaitReboot returns when the guest is ready in another boot than the one named.
func (vm *VM) WaitReboot(ctx context.Context, boot string) error {
	if err := vm.agent.WaitReboot(ctx, boot); err != nil {
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

// Rebind takes the virtio device away from its driver and gives it back, and returns when eth0 has
// its addresses again.
func (vm *VM) Rebind(ctx context.Context) error {
	script := `dev=$(basename $(readlink -f /sys/class/net/eth0/device)) && cd /sys/bus/virtio/drivers/virtio_net &&
		echo $dev >unbind && test ! -e /sys/class/net/eth0 && echo $dev >bind`
	if _, err := vm.Output(ctx, script); err != nil {
		return err
	}
	return vm.WaitAddresses(ctx)
}

// Reload takes the driver out of the guest's kernel and loads it again, and returns when eth0 has
// its addresses again.
func (vm *VM) Reload(ctx context.Context) error {
	if _, err := vm.Output(ctx, "rmmod virtio_net && test ! -e /sys/class/net/eth0 && insmod /lib/modules/*-virtio_net.ko"); err != nil {
		return err
	}
	return vm.WaitAddresses(ctx)
}

// WaitAddresses returns when eth0 has the addresses of Config.IPs: after it was plugged in, for
// one.
func (vm *VM) WaitAddresses(ctx context.Context) error {
	var have strings.Builder
	have.WriteString("true")
	for _, ip := range vm.Config.IPs {
		fmt.Fprintf(&have, " && ip address show dev eth0 2>/dev/null | grep -qF ' %s '", ip)
	}
	_, err := vm.Output(ctx, "until "+have.String()+"; do sleep 0.05; done")
	return err
}
