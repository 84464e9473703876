package doctor

import (
	"fmt"
	"math"
	"slices"

	"vswitchd/internal/control"
)

// This file has the checks of workers, of what all ports share, and of the configuration.

const (
	saturated = 0.9 // part of its time that a worker is busy: frames begin to wait
	starved   = 0.1 // part of its time that a worker waits for a processor
	vain      = 0.5 // part of its time that a worker polls without finding a frame ...
	fruitful  = 0.1 // ... if less than this part of its processor time went into frames
)

// use is what a worker did between the two samples, in parts of that time.
type use struct {
	busy, ran, waited float64
	frames            uint64 // per second
}

// use returns the use of worker i.
func (c *Case) use(i int) (u use) {
	s := c.Interval.Seconds()
	if i >= len(c.Before.Switch.Workers) || s <= 0 {
		return u
	}
	was, now := c.Before.Switch.Workers[i], c.After.Switch.Workers[i]
	return use{
		busy: (now.BusyS - was.BusyS) / s, ran: (now.CPUS - was.CPUS) / s, waited: (now.WaitedS - was.WaitedS) / s,
		frames: c.perSecond(now.Frames - min(now.Frames, was.Frames)),
	}
}

// evidence describes the use of worker i.
func (u use) evidence(i int, w *control.Worker) control.Settings {
	return facts("worker", i, "busy_percent", percent(u.busy), "processor_percent", percent(u.ran), "waiting_percent", percent(u.waited),
		"frames_per_s", u.frames, "sources", w.Sources, "cpu", w.CPU)
}

// percent returns a part in percent, rounded to a tenth.
func percent(part float64) float64 { return math.Round(part*1000) / 10 }

// findWorker makes a finding of the first worker that is bad.
func findWorker(c *Case, severity Severity, problem string, bad func(use) bool, advice ...string) *Finding {
	for i := range c.After.Switch.Workers {
		if u := c.use(i); bad(u) {
			return finding(severity, problem, u.evidence(i, &c.After.Switch.Workers[i]), advice...)
		}
	}
	return nil
}

func workerSaturated(c *Case) *Finding {
	n := len(c.After.Switch.Workers)
	advice := fmt.Sprintf("workers = %d in [switch], and restart vswitchd", n+1)
	if p := c.After.Switch.Processors; p > 0 && n >= p {
		advice = fmt.Sprintf("there are no more than %d processors for %d workers: a faster machine, or fewer guests on it", p, n)
	}
	return findWorker(c, Warning, "a worker is busy with frames all the time, which limits what the switch forwards",
		func(u use) bool { return u.busy >= saturated }, advice,
		"one queue is served by one worker: guests with several queues spread over workers (queues of the port, and queues= in QEMU)",
		"vswitchctl port show has who sends most; ingress_policing_rate limits it")
}

func workerStarved(c *Case) *Finding {
	return findWorker(c, Warning, "a worker is ready to run, and other processes have its processor",
		func(u use) bool { return u.waited >= starved },
		"keep guests' vCPUs and other programs off a processor, and pin the worker to it: cpus in [switch]",
		"fewer workers than processors: workers in [switch]",
		"in a virtual machine: the host may be overcommitted (st in top)")
}

func pollingInVain(c *Case) *Finding {
	poll := c.Config.Poll
	if poll == "" {
		poll = "the default"
	}
	f := findWorker(c, Note, "a worker uses a processor to poll, and finds little",
		func(u use) bool { return u.ran-u.busy >= vain && u.busy < fruitful*u.ran },
		"vswitchctl switch set poll=adaptive, the default, polls only where that pays", "if latency matters more than a processor, this is as it should be")
	if f != nil {
		f.Evidence = append(f.Evidence, facts("poll", poll)...)
	}
	return f
}

func limitNear(c *Case) *Finding {
	i := slices.IndexFunc(c.After.Switch.Limits, func(l control.Limit) bool { return l.Limit > 0 && float64(l.Used) >= nearly*float64(l.Limit) })
	if i < 0 {
		return nil
	}
	l := c.After.Switch.Limits[i]
	problem := "front-ends have nearly all that the process may have of a resource: others will be refused"
	if l.Resource == "memory" {
		problem = "the memory of the control group is nearly used up: the kernel will end vswitchd, and all guests lose their connection"
	}
	return finding(Warning, problem,
		facts("resource", l.Resource, "used", l.Used, "limit", l.Limit, "set_by", l.SetBy),
		map[string]string{
			"file-descriptors": "LimitNOFILE= of the service (systemctl edit vswitchd), or ulimit -Hn",
			"mappings":         "sysctl vm.max_map_count, and ProcSubset=all in the service (docs/service.md)",
			"memory":           "no MemoryMax= for vswitchd, to which guests' pages are charged that it touches first, or prealloc=on for guests (docs/limits.md)",
			"address-space":    "no ulimit -v for vswitchd; a smaller max_memory of ports whose guests map more than they need",
		}[l.Resource])
}

func configFile(c *Case) *Finding {
	if c.Config.FileError == "" {
		return nil
	}
	return finding(Warning, "the configuration file has errors: vswitchd would not start with it again", facts("file", c.Config.FilePath, "error", c.Config.FileError),
		"vswitchd --check --config "+c.Config.FilePath+" lists all of them", "vswitchctl config save writes what runs into the file")
}

func configNotSaved(c *Case) *Finding {
	if c.Config.FileError != "" || c.Config.Unsaved == 0 || c.Config.FilePath == "" {
		return nil
	}
	return finding(Note, "what runs is not what the file says: a reload or restart undoes the difference", facts("file", c.Config.FilePath, "differences", c.Config.Unsaved),
		"vswitchctl config show --diff has the difference", "vswitchctl config save writes it into the file")
}

func versionsDiffer(c *Case) *Finding {
	if c.Client == "" || c.Client == c.After.Switch.Version {
		return nil
	}
	return finding(Note, "vswitchd is not of the version of this vswitchctl: it was not restarted after an update, or another one is installed", facts("vswitchd", c.After.Switch.Version, "vswitchctl", c.Client),
		"systemctl restart vswitchd; guests whose QEMU reconnects go on")
}
