// Command run measures vswitchd side by side with Open vSwitch with DPDK and with DPDK's bare
// vhost library: each back-end gets one processor, the load generator the other one. Frames that
// cross an uplink are measured next to Open vSwitch and a Linux bridge.
//
// Back-ends take turns, A B C A B C and so on, so that what else happens on the machine happens to all
// of them. What is compared are ratios inside a round; of these the median is told, and the
// least and the greatest. The tables are printed, and with --doc written into a document.
//
// It has to be root: DPDK needs huge pages, and threads that move frames run before all
// others while they are measured, for less than a second at a time.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"

	"vswitchd/bench/peer"
	"vswitchd/bench/report"
)

// hugePages are for Open vSwitch, or for two testpmds.
const hugePages = 1024

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/run:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		rounds = flag.Int("rounds", 5, "how often every back-end takes its turn")
		quick  = flag.Bool("quick", false, "two rounds of the main scenarios")
		only   = flag.String("only", "", "regular expression that scenarios' names match; \"footprint\" is one, too")
		build  = flag.String("build", "build", "folder with vswitchd and what scripts/install-peers.sh gets")
		doc    = flag.String("doc", "", "document whose section of results is replaced")
		before = flag.String("before", "", "another vswitchd program, to be compared as well")
		peers  = flag.String("peers", "", "regular expression that back-ends' names match")
	)
	flag.Parse()
	if *quick {
		*rounds = min(*rounds, 2)
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	matchPeer, err := regexp.Compile(*peers)
	if err != nil {
		return err
	}
	if runtime.NumCPU() < 2 {
		return errors.New("two processors are needed: one for the back-end, one for the generator")
	}
	path, err := filepath.Abs(*build)
	if err != nil {
		return err
	}
	b, err := newBench(path)
	if err != nil {
		return err
	}
	defer b.lab.Close()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		s := <-interrupted
		fmt.Fprintln(os.Stderr, "bench/run:", s)
		if err := b.lab.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "bench/run:", err)
		}
		os.Exit(1)
	}()

	var chosen []scenario
	for _, s := range scenarios {
		if match.MatchString(s.name) && (!*quick || s.main) {
			chosen = append(chosen, s)
		}
	}
	candidates := starters
	if *before != "" {
		candidates = append(candidates, starter{"before", true, all, func(l *peer.Lab, o peer.Options) (peer.BackEnd, error) {
			return peer.StartProgram(l, o, "before", *before)
		}})
	}
	var backEnds []starter
	for _, s := range candidates {
		if matchPeer.MatchString(s.name) {
			backEnds = append(backEnds, s)
		}
	}
	needs := match.MatchString(footprintName) && !*quick
	if len(backEnds) == 0 || len(chosen) == 0 && !needs {
		return errors.New("nothing is chosen")
	}
	if err := b.lab.HugePages(hugePages); err != nil {
		return err
	}
	r, err := b.rounds(*rounds, backEnds, chosen)
	if err != nil {
		return err
	}
	text := r.markdown()
	if needs {
		t, err := b.footprint()
		if err != nil {
			return err
		}
		text += t
	}
	fmt.Print(text)
	if *doc == "" {
		return nil
	}
	return report.Replace(*doc, "bench/run", text)
}
