// Command flow sends TCP and UDP to itself on another machine, and finds out whether all of it
// arrived as it was sent. Unlike iperf3 it looks at each byte, which tells what checksums cannot,
// since network stacks leave those to one another; and it can leave the cutting of UDP datagrams to
// the network device (UDP_SEGMENT).
//
//	flow serve PORT
//	flow send [flags] ADDR PORT
//	flow cast [flags] GROUP PORT
//	flow join [flags] GROUP PORT
//
// The sender prints one JSON object, a [Report]. A multicast stream, from one "flow cast" to any
// number of "flow join", has no connection beside it. Each end runs until SIGTERM, a receiver only
// as long as the stream, and prints what it has sent or received, a [Cast] or a [Joined].
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"

	_ "vswitchd/internal/platform/linux"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "flow:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) > 0 && args[0] == "send":
		return runSend(args)
	case len(args) > 0 && (args[0] == "cast" || args[0] == "join"):
		return runGroup(args)
	}
	return errUsage
}

var errUsage = errors.New("usage: flow serve PORT | flow send [flags] ADDR PORT | flow {cast|join} [flags] GROUP PORT")

func runSend(args []string) error {
	var o order
	flags := flag.NewFlagSet("flow send", flag.ContinueOnError)
	flags.IntVar(&o.Bytes, "bytes", 1<<20, "how much to send by TCP")
	flags.IntVar(&o.Datagrams, "datagrams", 64, "how many to send by UDP")
	flags.IntVar(&o.Size, "size", 1400, "bytes in a datagram")
	flags.IntVar(&o.rate, "rate", 0, "bytes per second; 0: no limit")
	flags.IntVar(&o.batch, "batch", 1, "datagrams that are sent as one, for the network device to cut")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() != 2 || o.Size < datagramLen || o.batch < 1 {
		return errUsage
	}
	report, err := send(net.JoinHostPort(flags.Arg(0), flags.Arg(1)), o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// An order is what a sender tells the server to expect, in the first line that it sends.
type order struct {
	Bytes     int `json:"bytes"`
	Datagrams int `json:"datagrams"`
	Size      int `json:"size"`

	rate  int // bytes per second; 0: no limit
	batch int
}

// A result is what the server tells the sender in the end.
type result struct {
	Bytes     int    `json:"bytes"`     // that came by TCP, up to the first that is wrong
	Datagrams int    `json:"datagrams"` // that came and are right, each counted once
	Error     string `json:"error,omitempty"`
}

// A Report is what became of it all.
type Report struct {
	result
	Sent        order `json:"sent"`
	Retransmits int   `json:"retransmits"` // TCP segments that were sent again
	Segments    int   `json:"segments"`    // that were sent, with these
}
