package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/internal/control"
	"vswitchd/test/logbuf"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
)

// A confined process is the program running with its own resource limits.
type confined struct {
	*testing.T
	dir string
	cmd *exec.Cmd
	end chan error
	log logbuf.Buffer
}

// launch starts the program with ports, after the shell has run ulimits.
func launch(t *testing.T, ulimits, ports string) *confined {
	t.Helper()
	dir, err := os.MkdirTemp("", "vswitchd-")
	if err != nil {
		t.Fatal(err)
	}
	p := &confined{T: t, dir: dir, end: make(chan error, 1)}
	file := p.configure(ports)
	p.cmd = exec.Command("sh", "-c", ulimits+` exec "$0" "$@"`, program, "--config", file)
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { p.end <- p.cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-exited
		os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("log:\n%s", withoutRefusals(p.log.String()))
		}
	})
	p.until("vswitchd answers", func() bool {
		p.lives()
		_, err := p.get("/v1/switch")
		return err == nil
	})
	return p
}

// withoutRefusals omits the lines about refused messages, because there are hundreds of them.
func withoutRefusals(log string) string {
	var s strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "refused: port=") {
			s.WriteString(line)
		}
	}
	return s.String()
}

// configure writes the configuration file and returns its name.
func (p *confined) configure(ports string) (file string) {
	p.Helper()
	return write(p.T, p.dir, fmt.Sprintf("[control]\nsocket = %q\n[switch]\nsocket_dir = %q\n%s", p.dir+"/control", p.dir, ports))
}

// reload makes the program load a configuration with other ports.
func (p *confined) reload(ports string) {
	p.Helper()
	p.configure(ports)
	if _, err := control.NewClient(p.dir+"/control").Post(p.Context(), "/v1/reload"); err != nil {
		p.Fatal(err)
	}
}

func (p *confined) until(what string, condition func() bool) {
	p.Helper()
	for end := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("timed out after a minute, waiting until %s", what)
		}
	}
}

// lives fails the test if the program has ended.
func (p *confined) lives() {
	p.Helper()
	select {
	case err := <-p.end:
		p.Fatalf("vswitchd has ended: %v", err)
	default:
	}
}

func (p *confined) get(path string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return control.NewClient(p.dir+"/control").Get(ctx, path)
}

// port returns the details of a port from the program's control API.
func (p *confined) port(name string) (d control.PortDetail) {
	p.Helper()
	raw, err := p.get("/v1/ports/" + name)
	if err == nil {
		err = json.Unmarshal(raw, &d)
	}
	if err != nil {
		p.Fatal(err)
	}
	return d
}

// dial connects to a port and negotiates all features by which a front-end can consume resources.
func (p *confined) dial(port string) *vhostusertest.FrontEnd {
	p.Helper()
	f, err := vhostusertest.Dial(filepath.Join(p.dir, port+".sock"))
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(f.Close)
	const (
		features = 1<<virtqueue.FeatureVersion1 | 1<<virtqueue.FeatureRingPacked | 1<<vhostuser.FeatureProtocolFeatures
		protocol = 1<<vhostuser.ProtocolFeatureMQ | 1<<vhostuser.ProtocolFeatureReplyAck | 1<<vhostuser.ProtocolFeatureConfigureMemSlots |
			1<<vhostuser.ProtocolFeatureInflightShmFD | 1<<vhostuser.ProtocolFeatureLogShmFD
	)
	if err := f.Handshake(features, protocol); err != nil {
		p.Fatal(err)
	}
	return f
}

// rob consumes as many resources as a port grants: address space by sparse files, memory slots, and
// file descriptors.
func (p *confined) rob(port string) {
	p.Helper()
	f := p.dial(port)
	at, slots := uint64(1<<46), 0
	add := func(size uint64) bool {
		fd, err := unix.MemfdCreate("sparse", 0)
		if err == nil {
			defer unix.Close(fd)
			err = unix.Ftruncate(fd, int64(size))
		}
		if err != nil {
			p.Fatal(err)
		}
		r := vhostuser.MemRegion{GuestAddr: at, UserAddr: at, Size: size}
		if f.Do(vhostuser.AddMemReg, vhostuser.AppendSingleRegion(nil, r), fd) != nil {
			return false
		}
		slots++
		at += size
		return true
	}
	for range 100 {
		add(1 << 12)
	}
	for size := uint64(1) << 46; size >= 1<<21; {
		if !add(size) {
			size /= 2
		}
	}
	for add(1 << 12) {
	}
	for i := range 2 {
		for _, r := range []vhostuser.Request{vhostuser.SetVringCall, vhostuser.SetVringErr} {
			fd, err := unix.Eventfd(0, 0)
			if err != nil {
				p.Fatal(err)
			}
			f.Do(r, vhostuser.VringFile{Index: uint8(i)}.AppendTo(nil), fd)
			unix.Close(fd)
		}
	}
	p.Logf("%s took %d regions, %d bytes of address space", port, slots, p.port(port).Memory.Mapped)
}

// guest connects a front-end to a port, with the given size of memory, in bytes, and number of
// queue pairs.
func (p *confined) guest(port string, memory, queues int) {
	p.Helper()
	f := p.dial(port)
	mem, err := f.NewMemory(memory)
	if err == nil {
		err = f.ShareMemory()
	}
	for i := 0; err == nil && i < 2*queues; i++ {
		var r *vhostusertest.Ring
		if r, err = f.NewRing(mem, i, 256, 4<<10); err == nil {
			err = f.StartRing(r)
		}
	}
	if err != nil {
		p.Errorf("a guest at port %s: %v", port, err)
		return
	}
	if d := p.port(port); len(d.Rings) != 2*queues || d.Queues != queues || d.State != control.StateRunning {
		p.Errorf("port %s is %s, with %d rings", port, d.State, len(d.Rings))
	}
}

// Front-ends that consume all resources that they are granted leave enough for others and for
// vswitchd.
func TestGreedyFrontEnds(t *testing.T) {
	for _, c := range []struct{ name, ulimits string }{
		{"as it is", ""},
		{"few files", "ulimit -n 2400;"},
		{"small address space", "ulimit -v 100000000;"}, // KiB
	} {
		t.Run(c.name, func(t *testing.T) {
			const ports = "[port.bad]\n[port.worse]\nmax_memory = \"64TiB\"\n[port.small]\n[port.big]\n[port.wide]\nqueues = 128\n"
			p := launch(t, c.ulimits, ports)
			p.rob("bad")
			p.rob("worse")
			p.guest("small", 1<<20, 1)
			p.guest("big", 1<<30, 1)
			p.guest("wide", 16<<20, 128)
			p.reload(ports + "[port.late]\n[port.later]\n")
			p.guest("late", 1<<30, 1)
			p.guest("later", 1<<20, 1)
			p.lives()
		})
	}
}

// vswitchd is bound by the hard limit of open files, not by the soft one. Errors caused by the hard
// limit name it.
func TestFileLimit(t *testing.T) {
	p := launch(t, "ulimit -Sn 100; ulimit -Hn 300;", "[port.a]\n[port.b]\nqueues = 128\n")
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if f := strings.Fields(line); strings.HasPrefix(line, "Max open files") && f[3] != "300" && f[3] != "299" {
			t.Errorf("%s", line)
		}
	}
	p.until("the log warns that the limit is too low for 128 queues", func() bool { return strings.Contains(p.log.String(), "RLIMIT_NOFILE") })
	p.guest("a", 1<<20, 1)
	f, err := vhostusertest.Dial(filepath.Join(p.dir, "b.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.WaitClosed(); err != nil {
		t.Fatal(err)
	}
	p.until("port b shows why it refuses front-ends", func() bool { return strings.Contains(p.port("b").LastError, "RLIMIT_NOFILE") })
	if n := p.port("b").Counters.Resets["over-limit"]; n == 0 {
		t.Errorf("resets: %v", p.port("b").Counters.Resets)
	}
	p.lives()
}
