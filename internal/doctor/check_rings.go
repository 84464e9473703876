package doctor

import (
	"vswitchd/internal/control"
)

// This file has the checks of rings: their sizes, and whether they move.

// defaultRing is QEMU's default size of a receive ring, in descriptors.
const defaultRing = 256

// fullRings returns the evidence of frames that found the guest's receive rings full, and their
// size; nil if there are too few to matter: less than a thousandth of what was sent.
func fullRings(p *patient) (evidence control.Settings, size int, severity Severity) {
	to := p.rings("to-guest")
	total, grew := p.drops("ring-full")
	if !p.guest() || len(to) == 0 || grew == 0 && !weighty(total, p.Counters.TxFrames) {
		return nil, 0, ""
	}
	evidence = facts("dropped", total, "of_frames", total+p.Counters.TxFrames, "dropped_per_s", p.c.perSecond(grew), "ring_size", to[0].Size, "rings", len(to))
	severity = Note
	if grew > 0 {
		severity = Warning
	}
	return evidence, to[0].Size, severity
}

// weighty reports whether n frames that were lost matter beside passed ones that were not: a
// thousandth, and more than a few.
func weighty(n, passed uint64) bool { return n >= 100 && n >= (passed+n)/1000 }

func smallRing(p *patient) *Finding {
	evidence, size, severity := fullRings(p)
	if evidence == nil || size > defaultRing {
		return nil
	}
	if p.device != nil {
		evidence = append(evidence, facts("qemu_rx_queue_size", p.device.RxQueueSize)...)
	}
	return finding(severity, "frames find the guest's receive ring full, and the ring is small", evidence,
		"QEMU: rx_queue_size=1024 in -device virtio-net-pci; libvirt: <driver rx_queue_size='1024'/>",
		"more queues, if the guest has several processors: "+p.set("queues=N")+", and queues=N in QEMU",
		"a longer queue of frames that wait for the ring: "+p.set("rx_queue_len=N"))
}

func ringFull(p *patient) *Finding {
	evidence, size, severity := fullRings(p)
	if evidence == nil || size <= defaultRing {
		return nil
	}
	return finding(severity, "the guest does not take frames as fast as they come", evidence,
		"look for a processor of the guest that is busy (top in the guest, and in the host: its vCPU threads need processors)",
		"more queues, if the guest has several processors: "+p.set("queues=N")+", and queues=N in QEMU")
}

// findRing makes a finding of the first ring for which bad returns evidence.
func findRing(p *patient, severity Severity, problem string, bad func(*control.Ring) control.Settings, advice ...string) *Finding {
	for i := range p.Rings {
		r := &p.Rings[i]
		if evidence := bad(r); evidence != nil {
			return finding(severity, problem, append(facts("ring", r.Index, "direction", r.Direction), evidence...), advice...)
		}
	}
	return nil
}

func ringBroken(p *patient) *Finding {
	return findRing(p, Error, "the guest's driver has broken the rules of a ring, which is no longer used", func(r *control.Ring) control.Settings {
		if r.Broken == "" {
			return nil
		}
		return facts("broken", r.Broken)
	}, "reload the driver in the guest, or reboot it; a driver that does this again has an error")
}

func ringSuspended(p *patient) *Finding {
	return findRing(p, Warning, "a ring waits for memory, or for a log of dirty pages, from the front-end", func(r *control.Ring) control.Settings {
		if !r.Started || r.Running || r.Broken != "" {
			return nil
		}
		return facts("started", true, "running", false, "regions", len(p.Regions))
	}, "this should last for milliseconds, while memory is plugged or a migration begins: look at QEMU's log if it stays")
}

func ringStuck(p *patient) *Finding {
	if p.Session == nil || p.HintCause != "" {
		return nil
	}
	return findRing(p, Error, "frames of the guest wait in a ring, and none was taken between the samples", func(r *control.Ring) control.Settings {
		was := p.ringBefore(r.Index)
		if r.Direction != "from-guest" || !r.Running || !r.Enabled || was == nil || !was.Running {
			return nil
		}
		if r.Waiting == 0 || was.Waiting == 0 || r.Avail != was.Avail || r.Used != was.Used {
			return nil
		}
		return facts("waiting", r.Waiting, "kicks", r.Kicks, "kicks_in_sample", r.Kicks-min(r.Kicks, was.Kicks))
	}, "a kick may have been lost, or a worker is stuck: kill -QUIT the process of vswitchd, and report what it prints")
}

// one queue of several is remarkable from this rate of frames on, in frames per second.
const busyRate = 1000

func oneQueueBusy(p *patient) *Finding {
	from := p.rings("from-guest")
	frames := p.Counters.RxFrames - min(p.Counters.RxFrames, p.before.Counters.RxFrames)
	if len(from) < 2 || len(p.c.After.Switch.Workers) < 2 || p.c.perSecond(frames) < busyRate {
		return nil
	}
	moved := 0
	for _, r := range from {
		if was := p.ringBefore(r.Index); was == nil || was.Used != r.Used {
			moved++
		}
	}
	if moved != 1 {
		return nil
	}
	return finding(Note, "all frames of the guest come by one of its queues, and so by one worker", facts("queues", len(from), "used", moved, "frames_per_s", p.c.perSecond(frames)),
		"Linux sends by the queue of the processor: let the sending program run on several, or have several flows",
		"in the guest: ethtool -l eth0, and the affinity of the queues' interrupts")
}
