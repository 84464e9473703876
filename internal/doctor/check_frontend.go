package doctor

import (
	"fmt"
	"slices"
	"strings"

	"vswitchd/internal/control"
)

// This file has the checks of front-ends: whether one is there, can use the port, and stays.

func memoryNotShared(p *patient) *Finding {
	if !unshared(p) {
		return nil
	}
	evidence := facts("hint", p.Hint, "kicks", p.Counters.Kicks, "rx_frames", p.Counters.RxFrames)
	if p.device != nil {
		evidence = append(evidence, facts("qemu_share", p.device.SharedMemory)...)
	}
	return finding(Error, "the guest's memory is not shared: vswitchd does not see what the guest writes", evidence,
		"QEMU: -object memory-backend-memfd,id=mem,size=SIZE,share=on -machine memory-backend=mem, with SIZE that of -m",
		"libvirt: <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>; then stop and start the domain",
	)
}

// unshared reports whether vswitchd sees that the guest's memory is not shared, or all rings are as
// if it were not and the command line says so: a guest that kicks only once, when its driver
// starts, is nothing that vswitchd can tell from one that is not used.
func unshared(p *patient) bool {
	if p.HintCause == control.HintMemoryNotShared {
		return true
	}
	return p.running() && p.device != nil && p.device.SharedMemory != "on" && len(p.Rings) > 0 &&
		!slices.ContainsFunc(p.Rings, func(r control.Ring) bool { return !unused(&r) })
}

func bigEndianDriver(p *patient) *Finding {
	if p.HintCause != control.HintBigEndian {
		return nil
	}
	return finding(Error, "a legacy driver of a big-endian guest, for which QEMU needs CROSS_ENDIAN, which is not offered", facts("hint", p.Hint),
		"QEMU: a device that is not legacy: disable-legacy=on, on s390x max_revision=1 or higher")
}

func notVhostUser(p *patient) *Finding {
	if p.HintCause != control.HintNotVhostUser {
		return nil
	}
	return finding(Error, "what connects to the port does not speak vhost-user", append(facts("hint", p.Hint), lastEnd(p)...),
		"QEMU: -netdev vhost-user,chardev=ID on this socket, not -netdev stream or socket", "find who connects: ss -xp | grep "+p.Socket)
}

func offerTooSmall(p *patient) *Finding {
	if p.HintCause != control.HintOffer {
		return nil
	}
	evidence := facts("hint", p.Hint, "port_queues", p.Settings.Get("queues"), "port_offloads", words(p.Offloads))
	for _, d := range p.others {
		evidence = append(evidence, facts("qemu_pid", d.PID, "qemu_queues", d.Queues)...)
	}
	return finding(Error, "front-ends connect, read what the port offers, and leave", append(evidence, lastEnd(p)...),
		"if QEMU says \"you are asking more queues than supported\": "+p.set("queues=N")+", or fewer queues= in its -netdev",
		"if QEMU says \"vhost lacks feature mask\": restart the guest, whose port offers fewer offloads than before",
	)
}

// lastEnd is evidence of how the last session ended.
func lastEnd(p *patient) control.Settings {
	if p.LastEnd == nil {
		return nil
	}
	return facts("last_session_ended", p.LastEnd.Reason, "ended_ago_s", p.LastEnd.AgoS)
}

func secondFrontEnd(p *patient) *Finding {
	s := p.Session
	if s == nil || !s.OtherWaiting {
		return nil
	}
	evidence := facts("connected_pid", s.PeerPID, "connected_for_s", s.AgeS)
	for _, d := range p.others {
		evidence = append(evidence, facts("waiting_pid", d.PID)...)
	}
	return finding(Warning, "another front-end waits for the port, which serves one at a time", evidence,
		"two guests have this socket: make another port for one of them (vswitchctl port add NAME)",
		fmt.Sprintf("or a process of an earlier guest is left over: look at process %d, and end it if it is that", s.PeerPID),
	)
}

// noReconnect looks at the command line of QEMU, since the protocol does not tell.
func noReconnect(p *patient) *Finding {
	const advice = "QEMU: -chardev socket,...,reconnect-ms=100 (reconnect=1 before 9.2); libvirt: <reconnect enabled='yes' timeout='1'/> in <source>"
	if d := p.device; d != nil && !d.Server && !d.Reconnect {
		return finding(Warning, "QEMU does not connect again: the guest loses its network when vswitchd is restarted", facts("qemu_pid", d.PID, "qemu_reconnect", "none"), advice)
	}
	if p.Session != nil {
		return nil
	}
	for _, d := range p.others {
		if !d.Server && !d.Reconnect {
			return finding(Error, "a QEMU that has this socket is not connected, and does not connect again", append(facts("qemu_pid", d.PID, "qemu_reconnect", "none"), lastEnd(p)...),
				"restart the guest", advice)
		}
	}
	return nil
}

// nobody reports whether no front-end is connected.
func nobody(p *patient) bool {
	return p.State == control.StateListening || p.State == control.StateConnecting
}

func frontEndLost(p *patient) *Finding {
	if !nobody(p) || p.LastError == "" || p.LastEnd == nil || p.HintCause != "" {
		return nil
	}
	return finding(Warning, "the last front-end did not leave in order, and none has come since", lastEnd(p),
		"QEMU has crashed or was killed: look at its log, for libvirt in /var/log/libvirt/qemu",
		"or it was disconnected for what it did: journalctl -u vswitchd | grep port="+p.Name,
	)
}

// noFrontEnd is a finding only for a port that was asked about: many ports wait for guests that are
// to come.
func noFrontEnd(p *patient) *Finding {
	if !p.asked || !nobody(p) || p.LastError != "" || p.HintCause != "" {
		return nil
	}
	evidence := append(facts("state", p.State, "socket", p.Socket, "qemus_with_this_socket", len(p.others)), socketEvidence(p)...)
	if p.State == control.StateConnecting {
		return finding(Warning, "vswitchd finds no front-end that listens on the socket", evidence,
			"QEMU: -chardev socket,path="+p.Socket+",server=on,wait=off",
			"vswitchd's user has to be allowed to write to the socket, and to search the directories above")
	}
	return finding(Warning, "no front-end has connected", evidence,
		"QEMU: -chardev socket,path="+p.Socket+",reconnect-ms=100 and -netdev vhost-user,chardev=ID",
		"QEMU's user has to be allowed to write to the socket: "+p.set("socket_group=kvm")+", and so on; libvirt's user on Debian is in the group kvm",
		"a security profile may forbid it: journalctl -k | grep -i -e apparmor -e avc",
	)
}

// readyAfter is the time in seconds that a guest has to boot before a driver that does not run is a
// finding, and silentAfter the time after which a guest that has sent nothing is one.
const readyAfter, silentAfter = 60, 60

func driverNotReady(p *patient) *Finding {
	s := p.Session
	if p.State != control.StateConnected || s == nil || s.AgeS < readyAfter && !p.asked || p.HintCause != "" {
		return nil
	}
	evidence := facts("connected_for_s", s.AgeS, "device_status", words(s.DeviceStatus.Names), "features", len(p.Features), "rings", len(p.Rings))
	problem := "QEMU is connected, and the guest's driver has negotiated nothing"
	if len(p.Features) > 0 {
		problem = "the guest's driver has negotiated features and does not run"
	}
	return finding(Warning, problem, evidence,
		"has the guest booted? Its console says so", "has it a driver: lsmod | grep virtio_net in a Linux guest; Windows needs NetKVM",
		"is the guest paused, or its link off: in QEMU's monitor, info status, and set_link ID on",
	)
}

func silentGuest(p *patient) *Finding {
	s, sent := p.Session, p.rings("from-guest")
	if !p.running() || !p.guest() || s == nil || s.AgeS < silentAfter && !p.asked || p.HintCause != "" || len(sent) == 0 || unshared(p) {
		return nil
	}
	if slices.ContainsFunc(sent, func(r *control.Ring) bool { return !unused(r) }) {
		return nil
	}
	_, received := p.Counters.RxFrames, p.Counters.TxFrames
	return finding(Warning, "the guest's driver runs, and has never sent a frame", facts("connected_for_s", s.AgeS, "kicks", p.Counters.Kicks, "frames_to_guest", received),
		"set the interface up in the guest: ip link set eth0 up, and give it an address", "a guest with several interfaces may use another one: compare MAC addresses with the domain's",
	)
}

// unused reports whether nothing has ever been in a ring.
func unused(r *control.Ring) bool {
	if r.Format == "packed" {
		return r.Avail == 0 && r.AvailWrap != nil && *r.AvailWrap == 1
	}
	return r.Avail == 0 && (r.AvailIdx == nil || *r.AvailIdx == 0)
}

// resets says why front-ends were disconnected. A QEMU that is killed ("died") is nothing unusual.
func resets(p *patient) *Finding {
	var total, grew uint64
	var reasons []string
	for reason := range p.Counters.Resets {
		n, more := since(p.Counters.Resets, p.before.Counters.Resets, reason)
		if n > 0 && reason != "died" {
			reasons = append(reasons, fmt.Sprintf("%s: %d", reason, n))
			total, grew = total+n, grew+more
		}
	}
	if total == 0 {
		return nil
	}
	slices.Sort(reasons)
	severity := Note
	if grew > 0 {
		severity = Warning
	}
	return finding(severity, "front-ends were disconnected for what they did", append(facts("resets", strings.Join(reasons, ", "), "in_sample", grew), lastEnd(p)...),
		"docs/control-api.md says what each reason means; journalctl -u vswitchd | grep port="+p.Name+" has the details")
}

func migrating(p *patient) *Finding {
	if p.Session == nil || !p.Session.DirtyLog.On {
		return nil
	}
	return finding(Note, "a live migration is under way: each write to the guest's memory is logged", facts("log_bytes", p.Session.DirtyLog.Size),
		"if there is none, it was cancelled or QEMU is stuck: info migrate in its monitor")
}

func slowedMessages(p *patient) *Finding {
	grew := p.SlowedMessages - min(p.SlowedMessages, p.before.SlowedMessages)
	if grew == 0 {
		return nil
	}
	return finding(Warning, "the front-end sends messages faster than they are taken", facts("slowed_messages", p.SlowedMessages, "in_sample", grew),
		"a driver that is reset again and again, or a front-end that attacks: look at the guest's log")
}

// oldQEMU tells QEMU before 7.2 by a protocol feature that newer ones acknowledge.
func oldQEMU(p *patient) *Finding {
	if p.device == nil || !slices.Contains(p.ProtocolFeaturesNotAcked, "STATUS") {
		return nil
	}
	return finding(Note, "QEMU is older than 7.2", facts("qemu_pid", p.device.PID, "protocol_features_not_acked", words(p.ProtocolFeaturesNotAcked)),
		"it starts a device with several queues more slowly, and does not tell the driver's status; a newer one does")
}
