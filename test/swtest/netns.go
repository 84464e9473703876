package swtest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// A Netns is a network namespace.
type Netns struct{ Name string }

var serial atomic.Int64

// unique returns a short name that no other test has, of at most 15 bytes with a prefix of 2.
func unique(prefix string) string {
	return fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), serial.Add(1))
}

// NewNetns makes a namespace with its loopback up.
func NewNetns(t testing.TB) *Netns {
	t.Helper()
	n := &Netns{Name: unique("vs")}
	command(t, "ip", "netns", "add", n.Name)
	t.Cleanup(func() { command(t, "ip", "netns", "del", n.Name) })
	n.Run(t, "ip", "link", "set", "lo", "up")
	return n
}

// NewVeth makes a pair of interfaces, one in each namespace, both up.
func NewVeth(t testing.TB, a *Netns, ifA string, b *Netns, ifB string) {
	t.Helper()
	command(t, "ip", "link", "add", ifA, "netns", a.Name, "type", "veth", "peer", "name", ifB, "netns", b.Name)
	a.Run(t, "ip", "link", "set", ifA, "up")
	b.Run(t, "ip", "link", "set", ifB, "up")
}

// Command returns a command that runs in the namespace.
func (n *Netns) Command(name string, args ...string) *exec.Cmd {
	if n == nil {
		return exec.Command(name, args...)
	}
	return exec.Command("ip", append([]string{"netns", "exec", n.Name, name}, args...)...)
}

// Run runs a command in the namespace and returns its output. It fails the test if the command
// does.
func (n *Netns) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := n.Command(name, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	(*Netns)(nil).Run(t, name, args...)
}
