package compare

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/bench/load"
	"vswitchd/bench/peer"
	"vswitchd/bench/report"
)

// Of the table of what vswitchd needs.
const (
	footprintName  = "footprint"
	footprintPorts = 64
	starts         = 20
)

// footprint measures what vswitchd needs, besides a processor, and returns the table.
func (b *bench) footprint() (string, error) {
	t := report.Table{Title: fmt.Sprintf("What vswitchd with %d ports needs", footprintPorts), Subjects: []string{"vswitchd"}}
	o := peer.Options{Ports: footprintPorts}
	var started, idle, attached []float64
	for range starts {
		var took time.Duration
		err := boosted(map[int]int{unix.Gettid(): 1}, func() (err error) {
			took, err = peer.StartTime(b.lab, o)
			return err
		})
		if err != nil {
			return "", err
		}
		started = append(started, took.Seconds()*1e3)
		alone, together, err := b.memory(o)
		if err != nil {
			return "", err
		}
		idle, attached = append(idle, alone), append(attached, together)
	}
	program, err := os.Stat(filepath.Join(b.lab.Build, "vswitchd"))
	if err != nil {
		return "", err
	}
	t.Add("from its start until it listens at all sockets, ms", started)
	t.Add("resident memory without guests, MB", idle)
	t.Add("resident memory with a guest at each port, without the guests' own, MB", attached)
	t.Add("the program, which is static, MB", []float64{float64(program.Size()) / 1e6})
	return t.String(), nil
}

// memory returns how much memory is resident before and after guests have come, in MB.
func (b *bench) memory(o peer.Options) (alone, together float64, err error) {
	be, err := peer.StartVswitchd(b.lab, o)
	if err != nil {
		return 0, 0, err
	}
	defer be.Stop()
	if alone, err = resident(be.PID()); err != nil {
		return 0, 0, err
	}
	var ports []*load.Port
	defer func() {
		for _, p := range ports {
			p.Close()
		}
	}()
	for i := range o.Ports {
		p, err := be.Connect(i, load.Config{})
		if err != nil {
			return 0, 0, err
		}
		ports = append(ports, p)
	}
	g, err := load.NewGenerator(ports, load.Traffic{Size: small, Both: true})
	if err == nil {
		err = g.Announce()
	}
	if err != nil {
		return 0, 0, err
	}
	together, err = resident(be.PID())
	return alone, together, err
}

// resident returns how much memory of a process is resident that it does not share with guests, in
// MB.
func resident(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	var anon, file float64
	for line := range strings.Lines(string(b)) {
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "RssAnon":
			_, err = fmt.Sscanf(value, "%f kB", &anon)
		case "RssFile":
			_, err = fmt.Sscanf(value, "%f kB", &file)
		}
		if err != nil {
			return 0, fmt.Errorf("%q: %w", line, err)
		}
	}
	return (anon + file) * 1024 / 1e6, nil
}
