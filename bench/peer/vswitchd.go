package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vswitchd/bench/load"
	"vswitchd/internal/control"
)

// vswitchd is vswitchd with one worker.
type vswitchd struct {
	*process
	name    string
	dir     string
	api     *control.Client
	started time.Time
}

// StartVswitchd starts vswitchd.
func StartVswitchd(l *Lab, o Options) (BackEnd, error) {
	return StartProgram(l, o, "vswitchd", filepath.Join(l.Build, "vswitchd"))
}

// StartProgram starts a vswitchd that is somewhere else, under another name.
func StartProgram(l *Lab, o Options, name, program string) (BackEnd, error) {
	v, err := launch(l, o, name, program, 0)
	if err != nil {
		return nil, err
	}
	err = v.await("its control API answers", func() bool {
		_, err := v.stats()
		return err == nil
	})
	if err != nil {
		v.Stop()
		return nil, err
	}
	return v, nil
}

// StartTime returns how long vswitchd takes from its start until it listens, at its control socket
// and at that of its last port, if it runs before all others. Then it is ended.
func StartTime(l *Lab, o Options) (time.Duration, error) {
	v, err := launch(l, o, "vswitchd", filepath.Join(l.Build, "vswitchd"), 1)
	if err != nil {
		return 0, err
	}
	defer v.Stop()
	last, _ := v.Socket(o.Ports - 1)
	for _, path := range []string{v.control(), last} {
		for !listens(path) {
			if took := time.Since(v.started); took > patience {
				return took, fmt.Errorf("vswitchd does not listen at %s after %v", path, took)
			}
		}
	}
	return time.Since(v.started), nil
}

// listens reports whether somebody listens at a socket.
func listens(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// launch starts the process, with a priority.
func launch(l *Lab, o Options, name, program string, priority int) (*vswitchd, error) {
	v := &vswitchd{name: name, dir: l.Dir}
	v.api = control.NewClient(v.control())
	var config strings.Builder
	fmt.Fprintf(&config, "[control]\nsocket = %q\nmetrics = %q\n[switch]\nsocket_dir = %q\nworkers = %d\n",
		v.control(), o.Metrics, l.Dir, max(o.Workers, 1))
	switch {
	case o.Spread:
		fmt.Fprintf(&config, "cpus = [%s]\n", numbers(max(o.Workers, 1)))
	case l.CPU != AnyCPU:
		fmt.Fprintf(&config, "cpus = [%d]\n", l.CPU)
	}
	if o.MACs > 0 {
		fmt.Fprintf(&config, "mac_table_size = %d\n", o.MACs)
	}
	for i := range o.Ports {
		fmt.Fprintf(&config, "[port.v%d]\nqueues = %d\n", i, max(o.Queues, 1))
	}
	cmd := exec.Command
	if o.Uplink {
		w, err := l.Wire()
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&config, "[uplink.wire]\ninterface = %q\n", NearEnd)
		cmd = w.command
	}
	file := filepath.Join(l.Dir, "vswitchd.toml")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		return nil, err
	}
	var err error
	v.started = time.Now()
	v.process, err = l.startOn(l.CPU, priority, "vswitchd", cmd(program, "--config", file))
	return v, err
}

// numbers returns the numbers from 0 to n-1 for an array.
func numbers(n int) string {
	var all []string
	for i := range n {
		all = append(all, strconv.Itoa(i))
	}
	return strings.Join(all, ", ")
}

func (v *vswitchd) control() string       { return filepath.Join(v.dir, "vswitchd.control") }
func (v *vswitchd) Name() string          { return v.name }
func (v *vswitchd) Usage() (Usage, error) { return v.spent() }
func (v *vswitchd) Stop()                 { v.stop() }

// Busy implements BackEnd.
func (v *vswitchd) Busy() (u Usage, err error) {
	var s control.SwitchInfo
	if err := v.get("/v1/switch", &s); err != nil {
		return u, err
	}
	u.PerSecond = 1
	for _, w := range s.Workers {
		u.Done += w.BusyS
	}
	return u, nil
}

func (v *vswitchd) Socket(port int) (path string, listens bool) {
	return filepath.Join(v.dir, fmt.Sprintf("v%d.sock", port)), true
}

func (v *vswitchd) Connect(port int, cfg load.Config) (*load.Port, error) {
	path, _ := v.Socket(port)
	return load.Dial(path, cfg)
}

func (v *vswitchd) Drops() (n uint64, err error) {
	stats, err := v.stats()
	for _, p := range stats {
		n += p.Counters.Drops.Total()
	}
	return n, err
}

func (v *vswitchd) stats() (s []control.PortStats, err error) {
	err = v.get("/v1/stats", &s)
	return s, err
}

// get asks the control API.
func (v *vswitchd) get(path string, answer any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	raw, err := v.api.Get(ctx, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, answer)
}
