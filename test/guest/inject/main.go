// Command inject sends a frame, whatever is in it, by an interface of a test guest.
//
//	inject [flags] INTERFACE FRAME
//
// FRAME is in hexadecimal, without the frame check sequence.
package main

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	_ "vswitchd/internal/platform/linux"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "inject:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("inject", flag.ContinueOnError)
	count := flags.Int("count", 1, "how many times to send the frame")
	pause := flags.Duration("pause", 0, "how long to wait between two frames")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return errors.New("usage: inject [flags] INTERFACE FRAME")
	}
	frame, err := hex.DecodeString(flags.Arg(1))
	if err != nil {
		return fmt.Errorf("the frame: %w", err)
	}
	ifi, err := net.InterfaceByName(flags.Arg(0))
	if err != nil {
		return fmt.Errorf("%s: %w", flags.Arg(0), err)
	}
	// Protocol 0: the socket receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	defer unix.Close(fd)
	for i := range *count {
		if i > 0 {
			time.Sleep(*pause)
		}
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
			return fmt.Errorf("send by %s: %w", ifi.Name, err)
		}
	}
	return nil
}
