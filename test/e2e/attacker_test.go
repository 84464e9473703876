//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"

	"vswitchd/test/station"
)

// killedUnderLoad has another process be a guest that talks to everybody as much as it can, and
// kills it.
func killedUnderLoad(h *battle) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), attackerEnv+"="+h.s.Socket("c"))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	h.must(err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	h.must(err)
	h.must(cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "under load\n" {
		h.Errorf("the attacker says %q: %v", line, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// attackUntilKilled is the other process. It ends by itself when the test does.
func attackUntilKilled(socket string) int {
	c, err := station.Connect(socket, station.Config{MAC: station.Addr(3), Ring: 1024})
	if err != nil {
		fmt.Fprintln(os.Stderr, "attacker:", err)
		return 1
	}
	c.Talk(station.Addr(1), 64)
	c.Talk(station.Addr(2), 64)
	c.Talk(station.Broadcast, 16, station.Addr(1), station.Addr(2))
	c.Start()
	if err := c.Await(2000); err != nil {
		fmt.Fprintln(os.Stderr, "attacker:", err)
		return 1
	}
	fmt.Println("under load")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}
