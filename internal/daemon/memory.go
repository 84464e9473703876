package daemon

import (
	"vswitchd/internal/cgroup"
	"vswitchd/internal/control"
)

// openMemory opens the memory limits of the process's control groups, and warns if there are any:
// guests' pages that the process touches first count against them.
func (d *Daemon) openMemory() {
	d.memory = cgroup.OpenMemory("/")
	if _, limit, file, limited := d.memory.Tightest(); limited {
		d.log.Warn("memory is limited, and guests' pages that vswitchd touches first count: at the limit the kernel ends vswitchd",
			"bytes", limit, "path", file)
	}
}

// memoryLimit returns the tightest limit of memory, if there is one.
func (d *Daemon) memoryLimit() []control.Limit {
	used, limit, file, limited := d.memory.Tightest()
	if !limited {
		return nil
	}
	return []control.Limit{{Resource: "memory", Used: used, Limit: limit, SetBy: file}}
}
