package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
)

// pcapng makes a file with packets of a length on two interfaces, the second of which comes later.
func pcapng(t *testing.T, packets, length int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for i := range packets {
		if i == packets/2 {
			if _, err := w.AddInterface(pcapgo.NgInterface{Name: "late", LinkType: layers.LinkTypeEthernet}); err != nil {
				t.Fatal(err)
			}
		}
		data := binary.BigEndian.AppendUint32(make([]byte, length-4), uint32(i))
		info := gopacket.CaptureInfo{Timestamp: time.Unix(int64(i), 0), CaptureLength: length, Length: length, InterfaceIndex: 2 * i / packets}
		if err := w.WritePacket(info, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// numbers returns the numbers of the packets in a file.
func numbers(t *testing.T, file []byte) (list []int) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, _, err := r.ReadPacketData()
		if err != nil {
			return list
		}
		list = append(list, int(binary.BigEndian.Uint32(data[len(data)-4:])))
	}
}

// serveCapture serves captures that write content and then end.
func serveCapture(t *testing.T, content []byte) (socket string, b *controltest.Backend) {
	t.Helper()
	b = controltest.Sample()
	b.Stream, b.EndsAtOnce = content, true
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- control.NewServer(b, reloads, hclog.NewNullLogger()).Serve(t.Context(), l) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket, b
}

func TestCaptureToStandardOutput(t *testing.T) {
	content := pcapng(t, 10, 100)
	socket, b := serveCapture(t, content)
	var stdout, stderr bytes.Buffer
	code := run([]string{"--control", socket, "capture", "vm1,lan", "-c", "5", "-s", "96", "--duration", "1500ms", "--direction", "in", "-B", "1MiB"}, &stdout, &stderr)
	if code != exitOK || stderr.String() != "42 frames captured, 3 lost\n" {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	if !bytes.Equal(stdout.Bytes(), content) {
		t.Error("the capture is not what vswitchd has sent")
	}
	want := []control.CaptureRequest{{Ports: []string{"vm1", "lan"}, Direction: "in", Count: 5, Snaplen: 96, DurationMS: 1500, Buffer: 1 << 20}}
	if d := cmp.Diff(want, b.Requests, cmp.Transformer("length", func(l control.List[[4]uint32]) int { return len(l) })); d != "" {
		t.Error(d)
	}
}

// Each file of a series is whole by itself; none is longer than was asked; the oldest ones go.
func TestCaptureToSeries(t *testing.T) {
	const packets, length, size = 100, 200, 2048
	socket, _ := serveCapture(t, pcapng(t, packets, length))
	for _, keep := range []int{0, 3} {
		dir := t.TempDir()
		var stdout, stderr bytes.Buffer
		args := []string{"--control", socket, "-j", "capture", "--all", "-w", dir + "/c.pcapng", "-C", "2KiB", "-W", fmt.Sprint(keep)}
		if code := run(args, &stdout, &stderr); code != exitOK {
			t.Fatalf("exit code %d: %s", code, &stderr)
		}
		var answer struct {
			Captured, Lost uint64
			Files          []string
		}
		if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil || answer.Captured != 42 || answer.Lost != 3 {
			t.Fatalf("%v: %s", err, &stdout)
		}
		files, err := filepath.Glob(dir + "/c-*.pcapng")
		if err != nil || !slices.Equal(files, answer.Files) || keep > 0 && len(files) != keep {
			t.Errorf("files %v, the answer is %v", files, answer.Files)
		}
		var all []int
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > size {
				t.Errorf("%s has %d bytes", name, len(b))
			}
			all = append(all, numbers(t, b)...)
		}
		var want []int
		for i := packets - len(all); i < packets; i++ {
			want = append(want, i)
		}
		if !slices.Equal(all, want) || keep == 0 && len(all) != packets {
			t.Errorf("keeping %d files: packets %v", keep, all)
		}
	}
}

// What is no capture, or ends in the middle of a block, is an error.
func TestCapturesThatAreCutAreErrors(t *testing.T) {
	whole := pcapng(t, 10, 100)
	for name, content := range map[string][]byte{
		"cut":   whole[:len(whole)-5],
		"huge":  append(bytes.Clone(whole), 6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 0, 0, 0, 0),
		"short": append(bytes.Clone(whole), 6, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0),
	} {
		socket, _ := serveCapture(t, content)
		var stdout, stderr bytes.Buffer
		args := []string{"--control", socket, "capture", "vm1", "-w", t.TempDir() + "/c", "-C", "1MiB"}
		if code := run(args, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "reading the capture") {
			t.Errorf("%s: exit code %d: %s", name, code, &stderr)
		}
	}
}

func TestCaptureUsage(t *testing.T) {
	socket, b := serveCapture(t, nil)
	for args, want := range map[string]string{
		"capture":                       "the port is missing: name one, or use --all",
		"capture vm1,,lan":              `"vm1,,lan": the name of a port is empty`,
		"capture vm1 --direction ni":    `--direction: unknown direction "ni"; did you mean "in"?`,
		"capture vm1 --duration 1us":    "--duration: 1µs is not possible",
		"capture vm1 -s -1":             "--snaplen: -1 is not possible",
		"capture vm1 -C 1MiB":           "--file-size: standard output is one file; use --write",
		"capture vm1 -w /tmp/x -W 3":    "--files: this needs --file-size",
		"capture vm1 -j":                "--json: standard output is the capture; use --write",
		"capture vm1 --buffer 3parsecs": `"3parsecs" is no size such as 65536, 512KiB or 16MiB`,
		"capture stop":                  "the id is missing; capture show has it",
	} {
		var stdout, stderr bytes.Buffer
		if code := run(append([]string{"--control", socket}, strings.Fields(args)...), &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit code %d: %s", args, code, &stderr)
		}
	}
	if len(b.Requests) > 0 {
		t.Errorf("captures have begun: %v", b.Requests)
	}
}

// fakeTcpdump puts a tcpdump into PATH that behaves as a script says.
func fakeTcpdump(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, "tcpdump"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

// A filter is compiled by tcpdump, which gets the expression as one argument that is no flag, and
// is sent as numbers. Without tcpdump, or with a wrong expression, there is a reason, and nothing
// begins.
func TestFiltersAreCompiledByTcpdump(t *testing.T) {
	capture := func(filter ...string) (int, string, []control.CaptureRequest) {
		socket, b := serveCapture(t, nil)
		var stdout, stderr bytes.Buffer
		code := run(append([]string{"--control", socket, "capture", "vm1", "--"}, filter...), &stdout, &stderr)
		return code, stderr.String(), b.Requests
	}
	fakeTcpdump(t, `[ "$*" = "-ddd -y EN10MB -- -w /tmp/x tcp" ] && [ $# = 5 ] && printf '2\n40 0 0 12\n6 0 0 262144\n'`)
	code, stderr, requests := capture("-w", "/tmp/x", "tcp")
	if code != exitOK || len(requests) != 1 || requests[0].FilterText != "-w /tmp/x tcp" ||
		!slices.Equal(requests[0].Filter, control.List[[4]uint32]{{40, 0, 0, 12}, {6, 0, 0, 262144}}) {
		t.Errorf("exit code %d: %s; %+v", code, stderr, requests)
	}
	for _, tt := range []struct{ script, want string }{
		{"", "filters are compiled by tcpdump, which is not installed here"},
		{"echo Warning >&2; echo \"tcpdump: can't parse filter expression: syntax error\" >&2; exit 1", `filter "tpc": tcpdump: can't parse filter expression: syntax error; several ports are separated by commas`},
		{"exit 1", `filter "tpc": tcpdump: exit status 1`},
		{"echo 2; echo 1 2 3 4", "is not the number of the 1 lines that follow"},
		{"echo 1; echo 1 2 3", `"1 2 3" is no instruction`},
		{"echo 1; echo 1 2 3 -4", `"1 2 3 -4" is no instruction`},
	} {
		fakeTcpdump(t, tt.script)
		if code, stderr, requests := capture("tpc"); code != exitFailed || !strings.Contains(stderr, tt.want) || len(requests) > 0 {
			t.Errorf("exit code %d: %s, want %s; %v", code, stderr, tt.want, requests)
		}
	}
}
