package peer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"vswitchd/bench/load"
)

// A Wire is a veth pair. The near end is for back-ends, in a network namespace where they run; the
// far end is in another.
type Wire struct{ nearNS, farNS string }

// NearNS and FarNS name the network namespaces of the two ends.
func (w *Wire) NearNS() string { return w.nearNS }
func (w *Wire) FarNS() string  { return w.farNS }

// The interfaces of every wire.
const (
	NearEnd = "near"
	FarEnd  = "far"
)

// Wire returns the lab's wire for the back-ends that take turns. The wire is there from the first
// call to Close.
func (l *Lab) Wire() (*Wire, error) { return l.WireOf("bench") }

// WireOf returns a wire by its name, for back-ends that run at the same time.
func (l *Lab) WireOf(name string) (*Wire, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if w := l.wires[name]; w != nil {
		return w, nil
	}
	w := &Wire{fmt.Sprintf("%s%d-near", name, os.Getpid()), fmt.Sprintf("%s%d-far", name, os.Getpid())}
	if err := w.make(l.CPU); err != nil {
		return nil, errors.Join(err, w.remove())
	}
	l.wires[name] = w
	return w, nil
}

// make makes the wire. A veth's frames are received by the processor that has sent them; those that
// arrive at the near end are moved to the back-ends' processor (RPS), as they would be by a network
// card's interrupt. Nobody but the back-end says anything on the wire.
func (w *Wire) make(cpu int) error {
	const quiet = "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"
	steps := [][]string{
		{"netns", "add", w.nearNS},
		{"netns", "add", w.farNS},
		inNamespace(w.nearNS, "sh", "-c", quiet),
		inNamespace(w.farNS, "sh", "-c", quiet),
		{"link", "add", NearEnd, "netns", w.nearNS, "type", "veth", "peer", "name", FarEnd, "netns", w.farNS},
		{"-n", w.nearNS, "link", "set", NearEnd, "up"},
		{"-n", w.farNS, "link", "set", FarEnd, "up"},
	}
	if cpu != AnyCPU {
		rps := fmt.Sprintf("echo %x >/sys/class/net/%s/queues/rx-0/rps_cpus", 1<<cpu, NearEnd)
		steps = append(steps, inNamespace(w.nearNS, "sh", "-c", rps))
	}
	for _, s := range steps {
		if err := ip(s...); err != nil {
			return err
		}
	}
	return nil
}

func (w *Wire) remove() (err error) {
	for _, ns := range []string{w.nearNS, w.farNS} {
		if exists("/run/netns/" + ns) {
			err = errors.Join(err, ip("netns", "del", ns))
		}
	}
	return err
}

// Far opens the far end. With offloads, it takes and gives TCP segments of up to 64 KiB; without,
// all frames on the wire are complete and no longer than its MTU.
func (w *Wire) Far(offloads bool) (*load.Far, error) {
	state := "off"
	if offloads {
		state = "on"
	}
	cmd := exec.Command("ip", inNamespace(w.farNS, "ethtool", "-K", FarEnd, "tx", state, "tso", state)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("offloads of %s: %w: %s", FarEnd, err, out)
	}
	return load.OpenFar(w.farNS, FarEnd)
}

// Guest starts a guest at a back-end's only port. end is to be called afterwards.
func Guest(be BackEnd, cfg load.Config) (g load.Guest, end func(), err error) {
	if b, ok := be.(*bridge); ok {
		return b.tap, func() {}, nil
	}
	p, err := be.Connect(0, cfg)
	if err != nil {
		return nil, nil, err
	}
	return p.Guest(), p.Close, nil
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %q: %w: %s", args, err, out)
	}
	return nil
}

// inNamespace returns the arguments with which ip runs a command in a namespace, as the same
// process.
func inNamespace(ns string, command ...string) []string {
	return append([]string{"netns", "exec", ns}, command...)
}

// command returns a command that runs where the near end is.
func (w *Wire) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	w.enter(cmd)
	return cmd
}

// enter has a command that has not been started run where the near end is.
func (w *Wire) enter(cmd *exec.Cmd) {
	in := exec.Command("ip", inNamespace(w.nearNS, cmd.Args...)...)
	cmd.Path, cmd.Args = in.Path, in.Args
}
