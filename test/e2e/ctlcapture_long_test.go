//go:build e2e && long

package e2e

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestTsharkReadsCaptures: Wireshark's dissector reads a capture of drops while it runs, and shows
// the port as the interface, the reason as the packet's comment, and the bytes that were sent.
func TestTsharkReadsCaptures(t *testing.T) {
	s := swtest.Start(t, nil, `
[port.a]
ingress_filter = "f"
[port.b]
[filter.f]
default = "accept"
rules = [ { name = "no-9999", action = "drop", proto = "udp", dst_ports = 9999 } ]
`)
	a, b := connectRaw(t, s.Socket("a")), connectRaw(t, s.Socket("b"))
	b.send(datagram(t, 0xff, 2, 0, 1, "b is here"))
	c := startCapture(t, s, "--all", "--drops")
	program, err := vm.Tool("tshark")
	if err != nil {
		t.Fatal(err)
	}
	tshark := exec.Command(program, "-r", "-", "-l", "-n", "-T", "fields", "-e", "frame.interface_name",
		"-e", "frame.comment", "-e", "eth.src", "-e", "frame.len", "-e", "udp.payload")
	tshark.Stdin = c.out
	out, err := tshark.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tshark.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var want, got []string
	for i := range 100 {
		payload := fmt.Sprintf("payload %d", i)
		frame := datagram(t, 2, 1, 0, 9999, payload)
		a.send(frame)
		want = append(want, strings.Join([]string{"a", "dropped: filter, stage filter, filter f, rule no-9999, from a",
			"52:54:00:00:00:01", fmt.Sprint(len(frame)), hex.EncodeToString([]byte(payload))}, "\t"))
		if !lines.Scan() { // before the capture ends
			t.Fatalf("tshark has ended after %d frames: %v", i, lines.Err())
		}
		got = append(got, lines.Text())
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if err := c.process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if lines.Scan() {
		t.Errorf("tshark shows another frame: %s", lines.Text())
	}
	if err := tshark.Wait(); err != nil {
		t.Error(err)
	}
}
