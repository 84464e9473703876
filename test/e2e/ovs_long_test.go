//go:build e2e && long

package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"vswitchd/test/child"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// An ovsBridge is a bridge of Open vSwitch's userspace datapath. Its ports are dummies, which need
// neither interfaces nor DPDK: a command puts frames in, and what comes out is written to files.
type ovsBridge struct {
	t     *testing.T
	bin   string
	dir   string
	conn  net.Conn // of the daemon's commands
	dec   *json.Decoder
	taken map[string]int // bytes of each port's file that have been read
	beats byte           // frames that settle has sent
}

// startOVS starts Open vSwitch, of scripts/install-peers.sh, with a bridge br0.
func startOVS(t *testing.T) *ovsBridge {
	t.Helper()
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	b := &ovsBridge{t: t, bin: filepath.Join(root, "build", "lab", "ovs"), dir: t.TempDir(), taken: make(map[string]int)}
	if _, err := os.Stat(b.bin); err != nil {
		t.Fatalf("%v: scripts/install-peers.sh gets Open vSwitch", err)
	}
	b.run("ovsdb-tool", "create", b.file("conf.db"), filepath.Join(b.bin, "vswitch.ovsschema"))
	b.start("ovsdb-server", b.file("conf.db"), "--remote=punix:"+b.file("db.sock"), "--unixctl="+b.file("db.ctl"))
	swtest.Until(t, "ovsdb-server listens", func() bool {
		_, err := os.Stat(b.file("db.sock"))
		return err == nil
	})
	b.vsctl("--no-wait", "init")
	b.start("ovs-vswitchd", "unix:"+b.file("db.sock"), "--enable-dummy", "--unixctl="+b.file("vswitchd.ctl"))
	swtest.Until(t, "ovs-vswitchd listens", func() bool {
		b.conn, err = net.Dial("unix", b.file("vswitchd.ctl"))
		return err == nil
	})
	t.Cleanup(func() { b.conn.Close() })
	b.dec = json.NewDecoder(b.conn)
	// With a limit of 1, the default, no mode looks at a second tag.
	b.vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=0", "--",
		"add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy")
	b.addPort("beat1", "tag=4000")
	b.addPort("beat2", "tag=4000")
	return b
}

func (b *ovsBridge) file(name string) string { return filepath.Join(b.dir, name) }

func (b *ovsBridge) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(b.bin, name), args...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+b.dir, "OVS_LOGDIR="+b.dir, "OVS_DBDIR="+b.dir, "OVS_SYSCONFDIR="+b.dir)
	return cmd
}

func (b *ovsBridge) run(name string, args ...string) {
	b.t.Helper()
	if out, err := b.command(name, args...).CombinedOutput(); err != nil {
		b.t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

func (b *ovsBridge) start(name string, args ...string) {
	b.t.Helper()
	p, err := child.Start(b.command(name, args...), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { p.Stop(5 * time.Second) })
}

// vsctl changes the configuration, and waits until the daemon has applied it.
func (b *ovsBridge) vsctl(args ...string) {
	b.t.Helper()
	b.run("ovs-vsctl", append([]string{"--timeout=30", "--db=unix:" + b.file("db.sock")}, args...)...)
	for name := range b.taken {
		if info, err := os.Stat(b.file(name + ".pcap")); err == nil {
			b.taken[name] = int(info.Size()) // it may have been written anew
		}
	}
}

// addPort adds a port with columns of its record in the Port table.
func (b *ovsBridge) addPort(name string, columns ...string) {
	b.t.Helper()
	args := append([]string{"add-port", "br0", name}, columns...)
	b.taken[name] = 0
	b.vsctl(append(args, "--", "set", "interface", name, "type=dummy", "options:tx_pcap="+b.file(name+".pcap"))...)
}

// do executes a command of the daemon (ovs-appctl(8)).
func (b *ovsBridge) do(method string, params ...string) {
	b.t.Helper()
	if params == nil {
		params = []string{}
	}
	request := map[string]any{"id": 1, "method": method, "params": params}
	var reply struct{ Result, Error any }
	err := errors.Join(b.conn.SetDeadline(time.Now().Add(30*time.Second)), json.NewEncoder(b.conn).Encode(request), b.dec.Decode(&reply))
	if err != nil || reply.Error != nil {
		b.t.Fatalf("%s %q: %v, %v", method, params, err, reply.Error)
	}
}

// deliver has a port receive a frame, and waits until it has gone where it goes. The decision is
// made by the configuration: none of those that are cached for similar frames is used.
func (b *ovsBridge) deliver(port string, frame []byte) {
	b.t.Helper()
	b.do("dpctl/del-flows")
	b.do("netdev-dummy/receive", port, hex.EncodeToString(frame))
	// Ports are looked at in turn. So the frame is through when another one is that came in the
	// round after.
	b.beat()
	b.beat()
}

// beat sends a frame from beat1 to beat2.
func (b *ovsBridge) beat() {
	b.t.Helper()
	b.beats++
	frame := append([]byte{2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1, 0x88, 0xb6}, make([]byte, 46)...)
	frame[14] = b.beats
	b.do("netdev-dummy/receive", "beat1", hex.EncodeToString(frame))
	deadline := time.Now().Add(30 * time.Second)
	for {
		for _, f := range b.take("beat2") {
			if isBeat(f) && f[14] == b.beats {
				return
			}
		}
		if time.Now().After(deadline) {
			b.t.Fatal("Open vSwitch does not forward frames")
		}
	}
}

// isBeat reports whether a frame is one of beat's. Since they are flooded, other ports get them.
func isBeat(frame []byte) bool {
	at := 12
	if frame[at] == 0x81 {
		at += 4
	}
	return frame[at] == 0x88 && frame[at+1] == 0xb6
}

// take returns the frames that a port was sent since the last call, from its file, which is in the
// format of libpcap.
func (b *ovsBridge) take(port string) (frames [][]byte) {
	b.t.Helper()
	const header, recordHeader = 24, 16
	data, err := os.ReadFile(b.file(port + ".pcap"))
	if err != nil {
		b.t.Fatal(err)
	}
	at := max(b.taken[port], header)
	for at+recordHeader <= len(data) {
		n := int(binary.NativeEndian.Uint32(data[at+8:]))
		if at+recordHeader+n > len(data) {
			break // being written
		}
		frames = append(frames, data[at+recordHeader:at+recordHeader+n])
		at += recordHeader + n
	}
	b.taken[port] = at
	return frames
}

// learn adds an entry to the bridge's FDB.
func (b *ovsBridge) learn(port string, vlan int, mac net.HardwareAddr) {
	b.t.Helper()
	b.do("fdb/add", "br0", port, fmt.Sprint(vlan), mac.String())
}
