package walkthrough

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vswitchd/test/vm"
)

// A Walk follows the blocks of "sh" of a document, and passes over others.
//
// A block without further words is for the shell. Further words are the names of the guests in each
// of which the block is run. If the last word is "fails", the block has to end with status 1.
type Walk struct {
	Shell *Shell

	t      testing.TB
	ctx    context.Context
	agents string // folder of the guests' sockets
	guests map[string]*vm.Agent
	blocks []Block // which have not been run yet
}

// NewWalk prepares to follow blocks. agents is the folder with the sockets of the guests' agents,
// each of which has the name of its guest: see test/guest/qemu. ctx ends the walk. When the test
// ends, the shell is closed.
func NewWalk(ctx context.Context, t testing.TB, shell *Shell, agents string, blocks []Block) *Walk {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the shell has printed:\n%s", shell.Output())
		}
		shell.Close()
	})
	return &Walk{Shell: shell, t: t, ctx: ctx, agents: agents, guests: make(map[string]*vm.Agent), blocks: blocks}
}

// Left returns how many blocks have not been run yet.
func (w *Walk) Left() int { return len(w.blocks) }

// FollowAll runs the blocks that are left.
func (w *Walk) FollowAll() {
	w.t.Helper()
	w.Follow(w.Left())
}

// Follow runs the next n blocks. A command that fails ends the test.
func (w *Walk) Follow(n int) {
	w.t.Helper()
	for _, b := range w.blocks[:n] {
		if !b.Is("sh") {
			continue
		}
		guests, want := b.Words[1:], 0
		if len(guests) == 0 {
			if _, err := w.Shell.Run(w.ctx, b.Text); err != nil {
				w.t.Fatalf("%v: %v", b, err)
			}
			continue
		}
		if last := len(guests) - 1; guests[last] == "fails" {
			guests, want = guests[:last], 1
		}
		for _, name := range guests {
			result, err := w.guest(name).Run(w.ctx, "set -e\n"+b.Text)
			if err != nil || result.Exit != want {
				w.t.Fatalf("%v, in guest %s: %v, %+v", b, name, err, result)
			}
		}
	}
	w.blocks = w.blocks[n:]
}

// Output runs a command in a guest and returns what the command prints. It must succeed.
func (w *Walk) Output(guest, command string) string {
	w.t.Helper()
	result, err := w.guest(guest).Run(w.ctx, command)
	if err != nil || result.Exit != 0 {
		w.t.Fatalf("guest %s: %s: %v, %+v", guest, command, err, result)
	}
	return strings.TrimSpace(result.Stdout)
}

// guest returns the agent of a guest, when the guest is ready.
func (w *Walk) guest(name string) *vm.Agent {
	w.t.Helper()
	if agent := w.guests[name]; agent != nil {
		return agent
	}
	var agent *vm.Agent
	for {
		var err error
		if agent, err = vm.DialAgent(w.ctx, filepath.Join(w.agents, name)); err == nil {
			break
		}
		select {
		case <-w.ctx.Done():
			w.t.Fatalf("guest %s has not been started: %v", name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	w.t.Cleanup(agent.Close)
	if err := agent.WaitReboot(w.ctx, ""); err != nil {
		console, _ := os.ReadFile(filepath.Join(w.agents, name+".console"))
		w.t.Fatalf("guest %s: %v\n%s", name, err, console)
	}
	w.guests[name] = agent
	return agent
}
