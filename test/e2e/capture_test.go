//go:build e2e

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// tcpdumps are told how long frames are, since they reserve room for 64 KiB for each otherwise, and
// have few.

// A watch counts the frames at a guest's eth0 that a filter of tcpdump matches, also those that the
// guest sends.
type watch struct {
	m    *vm.VM
	job  *job
	file string
}

// markerType is that of a frame by which a guest's own tcpdump shows how far it is.
const markerType = 0x88b6

func startWatch(t *testing.T, m *vm.VM, filter string) *watch {
	t.Helper()
	w := &watch{m: m, file: fmt.Sprintf("/tmp/watch.%d", jobs.Add(1))}
	w.job = startJob(t, m, fmt.Sprintf("tcpdump -Z root -i eth0 -s 128 --immediate-mode -l -n -t -e '(%s) or ether proto %#x' >%s", filter, markerType, w.file), "listening on")
	return w
}

// seen counts the frames until now.
func (w *watch) seen(t *testing.T) int {
	t.Helper()
	// A frame is a line that begins with its source address; lines of frames with unknown contents
	// follow.
	n, err := strconv.Atoi(strings.TrimSpace(w.m.MustRun(t, "grep -c '^[0-9a-f]*:' "+w.file+" || true")))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// stop ends the count, but not before n frames were seen.
func (w *watch) stop(t *testing.T, n int) int {
	t.Helper()
	swtest.Until(t, fmt.Sprintf("%s: %d frames are seen", w.job.what, n), func() bool { return w.seen(t) >= n })
	own := w.m.Config.MAC
	w.m.MustRun(t, "inject eth0 "+hex.EncodeToString(frameOf(t, markerType, own, own)))
	swtest.Until(t, w.job.what+": all frames are seen", func() bool {
		r, err := w.m.Run(t.Context(), fmt.Sprintf("grep -q %#x %s", markerType, w.file))
		return err == nil && r.Exit == 0
	})
	n = w.seen(t) - 1
	w.job.stop(t)
	return n
}

// capture collects frames at an interface of a guest, up to n of those that a filter of tcpdump
// matches. The function that it returns waits for them, and parses them.
func capture(t *testing.T, m *vm.VM, iface, filter string, n int) (frames func(t *testing.T) []gopacket.Packet) {
	t.Helper()
	file := fmt.Sprintf("/tmp/capture.%d", jobs.Add(1))
	j := startJob(t, m, fmt.Sprintf("tcpdump -Z root -i %s -s 2048 -n --immediate-mode -c %d -w %s '%s'", iface, n, file, filter), "listening on")
	return func(t *testing.T) []gopacket.Packet {
		t.Helper()
		j.wait(t)
		content, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(m.MustRun(t, "base64 "+file)), ""))
		if err != nil {
			t.Fatal(err)
		}
		return parsePcap(t, bytes.NewReader(content))
	}
}

// captureNetns does the same in a namespace.
func captureNetns(t *testing.T, ns *swtest.Netns, iface, filter string, n int) (frames func(t *testing.T) []gopacket.Packet) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "capture")
	j := startNetnsJob(t, ns, "listening on", "tcpdump", "-Z", "root", "-i", iface, "-s", "2048", "-n", "--immediate-mode", "-c", strconv.Itoa(n), "-w", file, filter)
	return func(t *testing.T) []gopacket.Packet {
		t.Helper()
		j.wait(t)
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return parsePcap(t, f)
	}
}

func parsePcap(t *testing.T, from io.Reader) (frames []gopacket.Packet) {
	t.Helper()
	r, err := pcapgo.NewReader(from)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			t.Fatal(err)
		}
		p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
		p.Metadata().CaptureInfo = info
		frames = append(frames, p)
	}
}
