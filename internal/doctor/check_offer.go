package doctor

import (
	"cmp"
	"slices"
	"strconv"

	"vswitchd/internal/control"
)

// This file has the checks of what port and guest have agreed on: offloads, queues, MTU, memory.

func offloadsOff(p *patient) *Finding {
	if !p.guest() || p.State != control.StateRunning && !p.asked {
		return nil
	}
	var off []string
	for _, o := range []string{"csum", "tso"} {
		if !slices.Contains(p.Offloads, o) {
			off = append(off, o)
		}
	}
	if len(off) == 0 {
		return nil
	}
	return finding(Note, "the port does not offer the guest the offloads that matter most", facts("off", words(off), "offloads", words(p.Offloads)),
		"unless the guest needs that (XDP in its driver): "+p.set("offloads=csum,tso,ufo,uso")+", and restart the guest")
}

func offloadsNotUsed(p *patient) *Finding {
	if !p.running() || !p.guest() {
		return nil
	}
	missing := p.missing("CSUM", "GUEST_CSUM", "HOST_TSO4", "GUEST_TSO4", "MRG_RXBUF")
	if s := p.Session; s != nil && s.ControlQueue != nil {
		missing = append(missing, s.ControlQueue.OffloadsOff...)
	}
	if len(missing) == 0 {
		return nil
	}
	return finding(Note, "the guest does not use offloads that the port offers: it computes checksums and cuts packets itself, or vswitchd does", facts("not_used", words(missing)),
		"QEMU: no csum=off, host_tso4=off, guest_tso4=off, mrg_rxbuf=off and the like in -device", "a driver of DPDK, of a firmware or with XDP does without, and this is as it should be")
}

func queuesNotUsed(p *patient) *Finding {
	offered, err := strconv.Atoi(p.Settings.Get("queues"))
	if err != nil || !p.running() || !p.guest() || p.Queues >= offered {
		return nil
	}
	evidence := facts("port_queues", offered, "in_use", p.Queues)
	if d := p.device; d != nil {
		evidence = append(evidence, facts("qemu_queues", cmp.Or(d.Queues, "1"), "qemu_mq", cmp.Or(d.MQ, "off"))...)
	}
	if len(p.missing("MQ")) > 0 {
		return finding(Note, "the guest has one queue pair, although the port offers several", evidence,
			"QEMU: -netdev vhost-user,...,queues=N and -device virtio-net-pci,...,mq=on,vectors=2N+2; libvirt: <driver queues='N'/>")
	}
	return finding(Note, "the guest's driver uses fewer queue pairs than the port offers", evidence,
		"in the guest: ethtool -L eth0 combined N, up to its number of processors")
}

// oneQueueOffered says why MQ is not offered, to somebody who asks about the port.
func oneQueueOffered(p *patient) *Finding {
	workers := len(p.c.After.Switch.Workers)
	if !p.asked || !p.running() || !p.guest() || p.Settings.Get("queues") != "1" || workers < 2 {
		return nil
	}
	return finding(Note, "the port offers one queue pair, and so not MQ: one worker serves all that the guest sends", facts("port_queues", 1, "workers", workers),
		p.set("queues=N")+", for the next start of the guest", "QEMU: -netdev vhost-user,...,queues=N and -device virtio-net-pci,...,mq=on,vectors=2N+2; libvirt: <driver queues='N'/>")
}

// mtuMismatch compares what the port may send with what others can take. That the outside can send
// more than a guest can take is usual, and harms only what does not heed the guest's MTU.
func mtuMismatch(p *patient) *Finding {
	mtu := p.MTU
	if mtu == 0 && p.guest() {
		mtu = usualMTU
	}
	if !p.running() {
		return nil
	}
	for i := range p.c.After.Ports {
		o := &p.c.After.Ports[i]
		if o.State != control.StateRunning || o.MTU == 0 || o.MTU >= mtu || !meet(p.PortDetail, o) {
			continue
		}
		total, grew := since(o.Counters.Drops, p.c.before(o).Counters.Drops, "too-big")
		severity := Note
		if p.guest() || grew > 0 {
			severity = Warning
		}
		return finding(severity, "the port's MTU is larger than that of port "+o.Name+": large frames to there are dropped",
			facts("mtu", mtu, "other_port", o.Name, "other_mtu", o.MTU, "too_big", total, "too_big_in_sample", grew),
			"the same MTU at all ports of a network: mtu of guests' ports (for the next start of the guest), ip link set IFACE mtu N of interfaces",
			"in the guest: ip link set eth0 mtu N; where the port has an mtu, a Linux guest takes it when its driver starts")
	}
	return nil
}

// usualMTU is what a guest's driver assumes that is told nothing.
const usualMTU = 1500

// nearly is the part of a limit from which on its use is a finding.
const nearly = 0.9

func memoryNearLimit(p *patient) *Finding {
	m := p.Memory
	if m == nil || m.Max == 0 || float64(m.Mapped) < nearly*float64(m.Max) {
		return nil
	}
	return finding(Warning, "the guest's memory nearly reaches the port's limit: more cannot be plugged", facts("mapped_bytes", m.Mapped, "max_memory_bytes", m.Max),
		p.set("max_memory=SIZE"))
}
