package doctor

import (
	"fmt"

	"vswitchd/internal/control"
)

// This file has the checks of sockets, interfaces and loops: what is around the ports.

// socketFile returns what the system says of the socket that a port listens on.
func socketFile(p *patient) (f File, known bool) {
	if p.c.Host == nil || p.Socket == "" || p.Mode != "server" {
		return File{}, false
	}
	f, known = p.c.Host.Sockets[p.Socket]
	return f, known
}

// socketEvidence says who may use the port's socket.
func socketEvidence(p *patient) control.Settings {
	if f, known := socketFile(p); known && f.Exists {
		return facts("socket_owner", f.Owner, "socket_mode", fmt.Sprintf("%#o", f.Mode.Perm()))
	}
	return nil
}

func socketMissing(p *patient) *Finding {
	if f, known := socketFile(p); !known || f.Exists {
		return nil
	}
	return finding(Error, "the port's socket is not there, so that no front-end can connect", facts("socket", p.Socket),
		"somebody has removed it: vswitchctl port del "+p.Name+" and port add "+p.Name+", or restart vswitchd",
		"is the path the same for you and for vswitchd? In a container it may not be")
}

func socketOpen(p *patient) *Finding {
	f, known := socketFile(p)
	if !known || !f.OpenToAll() {
		return nil
	}
	return finding(Warning, "every user of this machine may connect to the port", append(facts("socket", p.Socket), socketEvidence(p)...),
		p.set("socket_mode=0660")+", with socket_group a group that QEMU's user is in")
}

func controlSocketOpen(c *Case) *Finding {
	if c.Host == nil || !c.Host.ControlSocket.OpenToAll() {
		return nil
	}
	f := c.Host.ControlSocket
	return finding(Warning, "every user of this machine may change the switch", facts("owner", f.Owner, "mode", fmt.Sprintf("%#o", f.Mode.Perm())),
		"[control] socket_mode = \"0660\" and socket_group in the configuration, and restart vswitchd")
}

func sandboxIncomplete(c *Case) *Finding {
	var missing control.Settings
	severity := Note
	for _, p := range c.After.Switch.Sandbox.Parts {
		switch p.State {
		case "failed":
			severity = Warning
		case "unavailable":
		default:
			continue
		}
		missing = append(missing, facts(p.Name, p.Detail)...)
	}
	if len(missing) == 0 {
		return nil
	}
	return finding(severity, "a part of the sandbox does not hold: somebody who takes vswitchd over can do more", missing,
		"a kernel that has the part: Landlock needs CONFIG_SECURITY_LANDLOCK, and landlock in the kernel's lsm= if that is set",
		"what is around vswitchd may prevent the part, such as the SystemCallFilter of a unit, or a container's profile",
		"if that is how it is to be: switch the part off in [sandbox]")
}

func portError(p *patient) *Finding {
	if p.State != control.StateError {
		return nil
	}
	return finding(Error, "the port does not work", facts("last_error", p.LastError, "link", p.Link),
		"journalctl -u vswitchd -p warning has more", "vswitchctl reload opens again what it can")
}

func loopBlocked(p *patient) *Finding {
	if p.Loop == nil {
		return nil
	}
	l := p.Loop
	return finding(Error, "the port is blocked, because a loop leads from it to port "+l.Port,
		facts("vlan", l.VLAN, "blocked_for_s", l.SinceS, "ends_in_s", l.ExpireS, "probes_returned", p.Counters.LoopEvents["returned"]),
		"find what joins the two: a guest that bridges two of its interfaces, or two uplinks in one network",
		"if it is wanted, and spanning tree runs there: "+p.set("loop_detection=false"),
	)
}

// unlinked makes the finding about the interface of an uplink or host port in a state.
func unlinked(p *patient, link, problem string, advice ...string) *Finding {
	if p.Link != link {
		return nil
	}
	return finding(Error, problem, facts("interface", p.Interface, "state", p.State, "last_error", p.LastError), advice...)
}

func interfaceAbsent(p *patient) *Finding {
	return unlinked(p, "absent", "there is no such network interface",
		"ip -br link lists those that there are; vswitchd uses the interface as soon as it is there",
		"an interface may be in another network namespace, or have another name since an update: "+p.set("interface=IFACE"))
}

func interfaceDown(p *patient) *Finding {
	if p.Kind == control.KindHost {
		return unlinked(p, "down", "vswitchd's end of the host port's pair is set down", "ip link set "+p.Interface+" up, and vswitchctl reload")
	}
	return unlinked(p, "down", "the interface is set down", "ip link set "+p.Interface+" up, and in the configuration of the host's network")
}

func noCarrier(p *patient) *Finding {
	if p.Kind == control.KindHost {
		return unlinked(p, "no-carrier", "the host has set its interface down", "ip link set "+p.Name+" up")
	}
	return unlinked(p, "no-carrier", "the interface has no carrier",
		"the cable, and the port of the switch at its other end: ethtool "+p.Interface, "of a veth pair: set its other end up")
}

func interfaceTaken(p *patient) *Finding {
	return unlinked(p, "taken", "another uplink has the interface", "give one of the two another interface, or remove it: vswitchctl uplink show")
}

func addressesLeftOut(p *patient) *Finding {
	r := p.Reception
	if r == nil || r.LeftOut == 0 {
		return nil
	}
	return finding(Warning, "the interface does not receive frames to some guests", facts("addresses", r.Addresses, "left_out", r.LeftOut),
		p.set("promiscuous=true")+": without it an interface has a limit of addresses")
}

func lro(p *patient) *Finding {
	if p.Reception == nil || !p.Reception.LRO {
		return nil
	}
	return finding(Warning, "the interface merges received frames (LRO), which damages some", facts("interface", p.Interface, "lro", true),
		"ethtool -K "+p.Interface+" lro off; vswitchd has tried, and the driver or missing CAP_NET_ADMIN did not let it")
}
