package metrics

import (
	"maps"
	"runtime"
	"slices"
	"strconv"

	"vswitchd/internal/control"
)

// A family is a metric with all its samples.
type family struct {
	name    string // without the prefix
	kind    string // counter, gauge or histogram
	help    string // one line
	samples func(*text, *snapshot)
}

// families are all metrics of the switch, in the order in which they are served.
//
// A counter that first appears with its first event has no increase at that event: rate() and
// alerts would miss it. So counters are there from the start, with 0, for each reason and event
// that there can be.
var families = []family{
	{"build_info", "gauge", "1, with the version and the target of the build as labels.", func(t *text, s *snapshot) {
		t.count(1, "goarch", runtime.GOARCH, "goos", runtime.GOOS, "goversion", runtime.Version(), "version", s.status.Version)
	}},

	{"port_info", "gauge", "1, with the kind of the port as a label.", eachPort(func(t *text, p *port) {
		t.count(1, "kind", string(p.Kind), "port", p.Name)
	})},
	{"port_up", "gauge", "1 if frames can pass the port.", eachPort(func(t *text, p *port) {
		t.flag(p.State == control.StateRunning, "port", p.Name)
	})},
	{"port_rx_frames_total", "counter", "Frames that the switch received from the port.",
		portCounter(func(c *control.Counters) uint64 { return c.RxFrames })},
	{"port_rx_bytes_total", "counter", "Bytes that the switch received from the port.",
		portCounter(func(c *control.Counters) uint64 { return c.RxBytes })},
	{"port_tx_frames_total", "counter", "Frames that the switch sent to the port.",
		portCounter(func(c *control.Counters) uint64 { return c.TxFrames })},
	{"port_tx_bytes_total", "counter", "Bytes that the switch sent to the port.",
		portCounter(func(c *control.Counters) uint64 { return c.TxBytes })},
	{"port_drops_total", "counter", "Frames dropped at the port.", eachPort(func(t *text, p *port) {
		reasons(t, p, p.Counters.Drops, p.Drops)
	})},
	{"port_resets_total", "counter", "Sessions of the port that did not end in an orderly way.", eachPort(func(t *text, p *port) {
		reasons(t, p, p.Counters.Resets, p.Resets)
	})},
	{"port_reconnects_total", "counter", "Front-ends that connected to the port, without the first.",
		portCounter(func(c *control.Counters) uint64 { return c.Reconnects })},
	{"port_kicks_total", "counter", "Notifications from the guest.", eachGuest(func(t *text, p *port) {
		t.count(p.Counters.Kicks, "port", p.Name)
	})},
	{"port_calls_total", "counter", "Notifications to the guest.", eachGuest(func(t *text, p *port) {
		t.count(p.Counters.Calls, "port", p.Name)
	})},
	{"port_waiting_frames", "gauge", "Frames in the guest's transmit rings that the switch has not taken yet.", eachGuest(func(t *text, p *port) {
		t.count(uint64(p.Backlog.Frames), "port", p.Name)
	})},
	{"port_free_buffers", "gauge", "Free buffers in the guest's receive rings.", eachGuest(func(t *text, p *port) {
		t.count(uint64(p.Backlog.Buffers), "port", p.Name)
	})},
	{"port_held_frames", "gauge", "Frames that wait until the guest makes receive buffers available.", eachGuest(func(t *text, p *port) {
		t.count(uint64(p.Backlog.Held), "port", p.Name)
	})},
	{"port_held_bytes", "gauge", "Memory that these frames occupy.", eachGuest(func(t *text, p *port) {
		t.count(uint64(p.Backlog.HeldBytes), "port", p.Name)
	})},
	{"port_held_frames_total", "counter", "Frames that had to wait until the guest made receive buffers available.", eachGuest(func(t *text, p *port) {
		t.count(p.Counters.Waited, "port", p.Name)
	})},
	{"port_limit_bytes_per_second", "gauge", "Configured rate of the port; none: there is no limit.", eachLimit(func(t *text, p *port, l control.PortLimit) {
		if l.Bits > 0 {
			t.number(float64(l.Bits)/8, "limit", l.Key, "port", p.Name)
		}
	})},
	{"port_limit_frames_per_second", "gauge", "Configured rate of the port, in frames; none: there is no limit.", eachLimit(func(t *text, p *port, l control.PortLimit) {
		if l.Frames > 0 {
			t.count(l.Frames, "limit", l.Key, "port", p.Name)
		}
	})},
	{"port_fdb_entries", "gauge", "Entries that the port has in the FDB.", eachPort(func(t *text, p *port) {
		t.count(uint64(p.FDB.Dynamic), "port", p.Name, "type", "dynamic")
		t.count(uint64(p.FDB.Static), "port", p.Name, "type", "static")
	})},
	{"port_fdb_events_total", "counter", "Events of the port's addresses in the FDB.",
		portEvents(func(c *control.Counters) control.Tally { return c.FDBEvents })},
	{"port_mcast_events_total", "counter", "Events of multicast snooping at the port.",
		portEvents(func(c *control.Counters) control.Tally { return c.McastEvents })},
	{"port_neigh_replies_total", "counter", "Requests for neighbors from the port that the switch has answered.",
		portCounter(func(c *control.Counters) uint64 { return c.NeighReplies })},
	{"port_neigh_events_total", "counter", "Events of the neighbor table at the port.",
		portEvents(func(c *control.Counters) control.Tally { return c.NeighEvents })},
	{"port_loop_events_total", "counter", "Events of loop detection at the port.",
		portEvents(func(c *control.Counters) control.Tally { return c.LoopEvents })},
	{"port_loop_blocked", "gauge", "1 if the port is blocked because of a loop.", eachPort(func(t *text, p *port) {
		t.flag(p.LoopBlocked, "port", p.Name)
	})},

	{"fdb_entries", "gauge", "Dynamic and static entries of the FDB.", func(t *text, s *snapshot) {
		t.count(uint64(s.status.FDBEntries))
	}},
	{"fdb_size", "gauge", "Largest number of entries in the FDB.", func(t *text, s *snapshot) {
		t.count(uint64(s.status.FDBSize))
	}},
	{"fdb_events_total", "counter", "Events of addresses in the FDB, of all ports together.", func(t *text, s *snapshot) {
		events(t, s.status.FDBEvents)
	}},
	{"mdb_entries", "gauge", "Memberships of ports in multicast groups.", func(t *text, s *snapshot) {
		t.count(uint64(s.status.MDBEntries))
	}},
	{"mcast_events_total", "counter", "Events of multicast snooping, of all ports together.", func(t *text, s *snapshot) {
		events(t, s.status.McastEvents)
	}},

	{"mirror_frames_total", "counter", "Copies of frames that the mirror has made.",
		mirrorCounter(func(m *control.Mirror) uint64 { return m.Frames })},
	{"mirror_bytes_total", "counter", "Bytes of the copies that the mirror has made.",
		mirrorCounter(func(m *control.Mirror) uint64 { return m.Bytes })},
	{"mirror_drops_total", "counter", "Copies that the output of the mirror has not taken.",
		mirrorCounter(func(m *control.Mirror) uint64 { return m.Drops })},
	{"filter_rule_frames_total", "counter", "Frames that matched the rule of the filter; rule default: that no rule has decided about.",
		ruleCounter(func(r *control.FilterRule) uint64 { return r.Frames })},
	{"filter_rule_bytes_total", "counter", "Bytes of these frames.",
		ruleCounter(func(r *control.FilterRule) uint64 { return r.Bytes })},

	{"captures", "gauge", "Captures that run.", func(t *text, s *snapshot) { t.count(uint64(s.status.Captures.Running)) }},
	{"capture_frames_total", "counter", "Frames that captures have written.", func(t *text, s *snapshot) {
		t.count(s.status.Captures.Captured)
	}},
	{"capture_lost_total", "counter", "Frames that captures have lost, because their clients read too slowly.", func(t *text, s *snapshot) {
		t.count(s.status.Captures.Lost)
	}},

	{"worker_asleep", "gauge", "1 if the worker waits for events.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.flag(w.Asleep, "worker", worker)
	})},
	{"worker_pausing", "gauge", "1 if the worker pauses between polls.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.flag(w.Pausing, "worker", worker)
	})},
	{"worker_awake_seconds_total", "counter", "Time that the worker was not asleep: busy, or polling in vain.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.number(w.AwakeS, "worker", worker)
	})},
	{"worker_busy_seconds_total", "counter", "Time that the worker spent in rounds that found frames.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.number(w.BusyS, "worker", worker)
	})},
	{"worker_cpu_seconds_total", "counter", "Processor time of the worker's thread; 0 where the kernel does not tell.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.number(w.CPUS, "worker", worker)
	})},
	{"worker_waited_seconds_total", "counter", "Time for which the worker was ready to run and had no processor; likewise.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.number(w.WaitedS, "worker", worker)
	})},
	{"worker_wakeups_total", "counter", "Number of times that the worker woke from sleep.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.count(w.Wakeups, "worker", worker)
	})},
	{"worker_pauses_total", "counter", "Number of pauses between polls.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.count(w.Pauses, "worker", worker)
	})},
	{"worker_frames_total", "counter", "Frames that the worker received.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.count(w.Frames, "worker", worker)
	})},
	{"worker_batch_frames", "histogram", "Frames that the worker found when it polled a source that had some.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.histogram(&w.Batches, "worker", worker)
	})},
	{"worker_empty_polls_total", "counter", "Polls of sources that found nothing.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.count(w.EmptyPolls, "worker", worker)
	})},
	{"worker_latency_seconds", "histogram", "Time from a kick to the end of the batch that followed.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.histogram(&w.Latency, "worker", worker)
	})},
	{"worker_sources", "gauge", "Transmit queues and uplinks that the worker serves.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.count(uint64(w.Sources), "worker", worker)
	})},
	{"worker_moves_total", "counter", "Sources that were moved to the worker because another one was busier.", eachWorker(func(t *text, w *control.Worker, worker string) {
		t.count(w.Moved, "worker", worker)
	})},

	{"shared_used_ratio", "gauge", "Part of what all front-ends share that they use, 0 to 1.", func(t *text, s *snapshot) {
		for _, l := range s.status.Limits {
			t.number(float64(l.Used)/float64(l.Limit), "resource", l.Resource)
		}
	}},
}

func eachPort(write func(*text, *port)) func(*text, *snapshot) {
	return func(t *text, s *snapshot) {
		for i := range s.ports {
			write(t, &s.ports[i])
		}
	}
}

// eachGuest is eachPort for ports that have a Backlog.
func eachGuest(write func(*text, *port)) func(*text, *snapshot) {
	return eachPort(func(t *text, p *port) {
		if p.Backlog != nil {
			write(t, p)
		}
	})
}

func eachLimit(write func(*text, *port, control.PortLimit)) func(*text, *snapshot) {
	return eachPort(func(t *text, p *port) {
		for _, l := range p.Limits {
			write(t, p, l)
		}
	})
}

func portCounter(value func(*control.Counters) uint64) func(*text, *snapshot) {
	return eachPort(func(t *text, p *port) { t.count(value(&p.Counters), "port", p.Name) })
}

// portEvents writes the counts of the events that any port has counted, for all ports.
func portEvents(tally func(*control.Counters) control.Tally) func(*text, *snapshot) {
	return func(t *text, s *snapshot) {
		known := make(control.Tally)
		for i := range s.ports {
			maps.Copy(known, tally(&s.ports[i].Counters))
		}
		names := slices.Sorted(maps.Keys(known))
		for i := range s.ports {
			p := &s.ports[i]
			counts := tally(&p.Counters)
			for _, name := range names {
				t.count(counts[name], "event", name, "port", p.Name)
			}
		}
	}
}

// events writes the counts of the switch's events.
func events(t *text, tally control.Tally) {
	for _, name := range slices.Sorted(maps.Keys(tally)) {
		t.count(tally[name], "event", name)
	}
}

// reasons writes a port's counts for the reasons that its kind counts, and others that it has.
func reasons(t *text, p *port, tally control.Tally, known []string) {
	for _, reason := range known {
		t.count(tally[reason], "port", p.Name, "reason", reason)
	}
	for _, reason := range slices.Sorted(maps.Keys(tally)) {
		if !slices.Contains(known, reason) {
			t.count(tally[reason], "port", p.Name, "reason", reason)
		}
	}
}

func mirrorCounter(value func(*control.Mirror) uint64) func(*text, *snapshot) {
	return func(t *text, s *snapshot) {
		for i := range s.mirrors {
			t.count(value(&s.mirrors[i]), "mirror", s.mirrors[i].Name)
		}
	}
}

func ruleCounter(value func(*control.FilterRule) uint64) func(*text, *snapshot) {
	return func(t *text, s *snapshot) {
		for _, f := range s.filters {
			for _, r := range append(slices.Clone(f.Rules), f.Default) {
				t.count(value(&r), "filter", f.Name, "rule", r.Name)
			}
		}
	}
}

func eachWorker(write func(t *text, w *control.Worker, worker string)) func(*text, *snapshot) {
	return func(t *text, s *snapshot) {
		for i := range s.status.Workers {
			write(t, &s.status.Workers[i], strconv.Itoa(i))
		}
	}
}
