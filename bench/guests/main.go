// Command guests measures what two Linux guests in QEMU get through vswitchd, side by side with two
// that are joined by a Linux bridge and tap devices, which QEMU serves itself: iperf3 from one to
// the other.
//
// All guests are up at the same time, of which two talk: pairs take turns, so that what else
// happens on the machine happens to all of them. What is compared differs in QEMU's -netdev alone.
// Nobody is kept on a processor or has another priority. The tables are printed, and with --doc
// written into a document.
//
// It has to be root: the bridge is in a network namespace.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"vswitchd/bench/peer"
	"vswitchd/bench/report"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/guests:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	var (
		rounds   = flag.Int("rounds", 5, "how often every pair of guests takes its turn")
		duration = flag.Duration("time", 4*time.Second, "how long a pair talks each time, in whole seconds")
		build    = flag.String("build", "build", "folder with vswitchd")
		doc      = flag.String("doc", "", "document whose section of results is replaced")
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	path, err := filepath.Abs(*build)
	if err != nil {
		return err
	}
	lab, err := peer.NewLab(path, peer.AnyCPU)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	v, err := startVswitchd(lab)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	b, err := makeBridge()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()

	r, err := measure(ctx, []*network{v, b}, devices, *rounds, *duration)
	if err != nil {
		return err
	}
	text := r.markdown()
	fmt.Print(text)
	if *doc == "" {
		return nil
	}
	return report.Replace(*doc, "bench/guests", text)
}
