// Command guestctl talks to the agent of a test guest, for shell scripts: a guest that has
//
//	-chardev socket,id=agent,path=SOCKET,server=on,wait=off -serial chardev:agent
//
// as its second serial port.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"vswitchd/test/vm"
)

const usage = `usage: guestctl [-timeout D] accel             print how guests run here: kvm or tcg
       guestctl [-timeout D] wait SOCKET       wait until the guest is ready
       guestctl [-timeout D] run SOCKET CMD    run a command with the guest's shell, and exit as it did
`

// exitUnknown is guestctl's own failure; the exit status of a command in the guest is not known
// then.
const exitUnknown = 125

func main() {
	timeout := flag.Duration("timeout", 2*time.Minute, "")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	status, err := run(ctx, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "guestctl:", err)
		status = exitUnknown
	}
	os.Exit(status)
}

func run(ctx context.Context, args []string) (status int, err error) {
	switch {
	case len(args) == 1 && args[0] == "accel":
		accel, err := vm.Accel(ctx)
		if err != nil {
			return 0, err
		}
		fmt.Println(accel)
		return 0, nil
	case len(args) == 2 && args[0] == "wait":
		return 0, withAgent(ctx, args[1], func(a *vm.Agent) error { return a.WaitReboot(ctx, "") })
	case len(args) >= 3 && args[0] == "run":
		err = withAgent(ctx, args[1], func(a *vm.Agent) error {
			result, err := a.Run(ctx, strings.Join(args[2:], " "))
			if err != nil {
				return err
			}
			os.Stdout.WriteString(result.Stdout)
			os.Stderr.WriteString(result.Stderr)
			if result.Error != "" {
				return errors.New(result.Error)
			}
			status = result.Exit
			return nil
		})
		return status, err
	}
	flag.Usage()
	return 2, nil
}

func withAgent(ctx context.Context, socket string, do func(*vm.Agent) error) error {
	agent, err := vm.DialAgent(ctx, socket)
	if err != nil {
		return err
	}
	defer agent.Close()
	return do(agent)
}
