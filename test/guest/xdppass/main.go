// Command xdppass attaches an XDP program to an interface of a test guest, in the driver. The
// program passes every frame on, and stays attached.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vswitchd/test/bpf"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "xdppass:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: xdppass INTERFACE")
	}
	link, err := netlink.LinkByName(args[0])
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	const pass = 2 // XDP_PASS
	fd, err := bpf.Load(unix.BPF_PROG_TYPE_XDP, []bpf.Instruction{{Code: bpf.Move, Immediate: pass}, {Code: bpf.Exit}})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := netlink.LinkSetXdpFdWithFlags(link, fd, unix.XDP_FLAGS_DRV_MODE); err != nil {
		return fmt.Errorf("attach to %s: %w", args[0], err)
	}
	return nil
}
