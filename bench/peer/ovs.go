package peer

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"

	"vswitchd/bench/load"
)

// ovs is Open vSwitch with DPDK: one bridge in the default mode, NORMAL, and one poll-mode thread.
type ovs struct {
	*process                     // ovs-vswitchd
	db       *process            // ovsdb-server
	sockets  []*net.UnixListener // of the guests: it connects to them
	uplinks  int
}

// StartOVS starts Open vSwitch with DPDK.
func StartOVS(l *Lab, o Options) (BackEnd, error) {
	v := &ovs{}
	if err := v.start(l, o); err != nil {
		v.Stop()
		return nil, fmt.Errorf("OVS-DPDK: %w", err)
	}
	return v, nil
}

func (v *ovs) start(l *Lab, o Options) error {
	file := func(name string) string { return filepath.Join(l.Dir, name) }
	schema := filepath.Join(l.Build, "lab", "ovs", "vswitch.ovsschema")
	_ = os.Remove(file("conf.db"))
	if err := ovsRun(l, "ovsdb-tool", "create", file("conf.db"), schema); err != nil {
		return err
	}
	var err error
	cmd := ovsCommand(l, "ovsdb-server", file("conf.db"), "--remote=punix:"+file("db.sock"), "--unixctl="+file("db.ctl"))
	if v.db, err = l.start("ovsdb-server", cmd); err != nil {
		return err
	}
	if err := v.db.await("its socket is there", func() bool { return exists(file("db.sock")) }); err != nil {
		return err
	}
	mask := fmt.Sprintf("%#x", 1<<l.CPU)
	set := []string{"--no-wait", "--", "init", "--", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
		"other_config:dpdk-extra=--no-pci --in-memory --no-telemetry", "other_config:dpdk-socket-mem=1024",
		"other_config:dpdk-lcore-mask=" + mask, "other_config:pmd-cpu-mask=" + mask,
		fmt.Sprintf("other_config:userspace-tso-enable=%t", o.Offloads)}
	if err := ovsVsctl(l, set...); err != nil {
		return err
	}
	// The bridge is an interface of the host as well, so it is in a separate network namespace.
	cmd = ovsCommand(l, "ovs-vswitchd", "unix:"+file("db.sock"), "--unixctl="+file("ovs.ctl"))
	if o.Uplink {
		w, err := l.Wire()
		if err != nil {
			return err
		}
		w.enter(cmd)
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	if v.process, err = l.start("ovs-vswitchd", cmd); err != nil {
		return err
	}
	add := []string{"--", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"}
	if o.MACs > 0 {
		add = append(add, fmt.Sprintf("other_config:mac-table-size=%d", o.MACs))
	}
	for i := range o.Ports {
		name := ovsPort(i)
		path := file(name + ".sock")
		socket, err := load.Listen(path)
		if err != nil {
			return err
		}
		v.sockets = append(v.sockets, socket)
		add = append(add, "--", "add-port", "br0", name, "--", "set", "interface", name, "type=dpdkvhostuserclient", "options:vhost-server-path="+path)
		if o.Queues > 1 {
			add = append(add, fmt.Sprintf("options:n_rxq=%d", o.Queues))
		}
	}
	if o.Uplink {
		v.uplinks = 1
		add = append(add, "--", "add-port", "br0", NearEnd, "--", "set", "interface", NearEnd, "type=dpdk",
			"options:dpdk-devargs=net_af_packet0,iface="+NearEnd)
	}
	if err := ovsVsctl(l, add...); err != nil {
		return fmt.Errorf("%w\n%s", err, v.tail())
	}
	return nil
}

func ovsPort(i int) string { return fmt.Sprintf("o%d", i) }

func ovsCommand(l *Lab, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(l.Build, "lab", "ovs", name), args...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+l.Dir, "OVS_LOGDIR="+l.Dir, "OVS_DBDIR="+l.Dir, "OVS_SYSCONFDIR="+l.Dir)
	return cmd
}

func ovsRun(l *Lab, name string, args ...string) error {
	_, err := ovsOutput(l, name, args...)
	return err
}

func ovsOutput(l *Lab, name string, args ...string) (string, error) {
	out, err := ovsCommand(l, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), nil
}

func ovsVsctl(l *Lab, args ...string) error {
	return ovsRun(l, "ovs-vsctl", append([]string{"--timeout=30", "--db=unix:" + filepath.Join(l.Dir, "db.sock")}, args...)...)
}

func (v *ovs) Name() string { return "OVS-DPDK" }

func (v *ovs) Stop() {
	for _, p := range []*process{v.process, v.db} {
		if p != nil {
			p.stop()
		}
	}
	for _, s := range v.sockets {
		_ = s.Close()
	}
}

// Socket implements BackEnd. From then on it is somebody else's to listen.
func (v *ovs) Socket(port int) (path string, listens bool) {
	_ = v.sockets[port].Close()
	return v.sockets[port].Addr().String(), false
}

func (v *ovs) Connect(port int, cfg load.Config) (*load.Port, error) {
	return load.Accept(v.sockets[port], cfg)
}

var (
	ovsCycles = regexp.MustCompile(`(?s)pmd thread.*?processing cycles: (\d+)`)
	ovsSpeed  = regexp.MustCompile(`(?s)Measurement duration: ([0-9.]+) s.*?Used TSC cycles: +(\d+) +\( *([0-9.]+) % of total`)
)

// Usage is in cycles of the poll-mode thread, as it counts them itself.
func (v *ovs) Usage() (u Usage, err error) {
	f, err := v.asked("dpif-netdev/pmd-stats-show", ovsCycles)
	if err != nil {
		return u, err
	}
	u.Done = f[0]
	if f, err = v.asked("dpif-netdev/pmd-perf-show", ovsSpeed); err != nil {
		return u, err
	}
	u.PerSecond = f[1] / (f[2] / 100) / f[0]
	return u, nil
}

// Busy implements BackEnd.
func (v *ovs) Busy() (Usage, error) { return v.Usage() }

// asked returns the numbers that are in the answer to a command.
func (v *ovs) asked(command string, numbers *regexp.Regexp) ([]float64, error) {
	out, err := ovsOutput(v.lab, "ovs-appctl", "-t", filepath.Join(v.lab.Dir, "ovs.ctl"), command)
	if err != nil {
		return nil, err
	}
	found := numbers.FindStringSubmatch(out)
	if found == nil {
		return nil, fmt.Errorf("answer of OVS-DPDK to %s: %s", command, out)
	}
	var f []float64
	for _, s := range found[1:] {
		x, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, err
		}
		f = append(f, x)
	}
	return f, nil
}

// ovsPortStats is what dump-ports has of a port. (The bridge's own, LOCAL, is down and drops what
// is flooded, which is no loss.)
var ovsPortStats = regexp.MustCompile(`port +\d+: rx .*drop=(\S+),.*\n\s*tx .*drop=(\S+),`)

func (v *ovs) Drops() (n uint64, err error) {
	out, err := ovsOutput(v.lab, "ovs-ofctl", "dump-ports", "br0")
	if err != nil {
		return 0, err
	}
	found := ovsPortStats.FindAllStringSubmatch(out, -1)
	if len(found) != len(v.sockets)+v.uplinks {
		return 0, fmt.Errorf("statistics of OVS-DPDK: %s", out)
	}
	for _, f := range found {
		for _, s := range f[1:] {
			k, _ := strconv.ParseUint(s, 10, 64) // "?" where it does not know: none
			n += k
		}
	}
	return n, nil
}
