package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// This file declares the keys of the tables that occur once, of static entries, and of ports of all
// kinds. The keys of one kind of port are declared in the kind's package.

var (
	logLevels  = []string{"trace", "debug", "info", "warn", "error"}
	logFormats = []string{"text", "json"}
)

func (l *Log) keys() []key.Key {
	return []key.Key{
		{Name: "level", Value: key.OneOf(&l.Level, logLevels...), Doc: "how much is logged"},
		{Name: "format", Value: key.OneOf(&l.Format, logFormats...), Live: key.Restart,
			Doc: "`json`: one JSON object per line"},
	}
}

func (c *Control) keys() []key.Key {
	keys := []key.Key{
		{Name: "socket", Value: key.OptionalSocket(&c.Socket), Live: key.Restart, Doc: `the unix socket of the control API; "": there is none`},
		{Name: "metrics", Value: key.OptionalHostPort(&c.Metrics), Live: key.Restart,
			Doc: `where Prometheus metrics are served, such as "127.0.0.1:9747"; "": nowhere`},
		{Name: "status", Value: key.OptionalHostPort(&c.Status), Live: key.Restart,
			Doc: `where the [status page](status-page.md) is served, such as "127.0.0.1:9748"; "": nowhere`},
		{Name: "status_hosts", Value: key.Texts(&c.StatusHosts), Live: key.Restart,
			Doc: "names under which browsers may ask for the status page, besides addresses and localhost; required if other machines can reach the page"},
	}
	return append(keys, c.Access.Keys(key.Restart, "the socket")...)
}

func (s *Switch) keys() []key.Key {
	keys := []key.Key{
		{Name: "workers", Value: key.Int(&s.Workers, 1, 128), Live: key.Restart, Doc: "data-plane threads, each of which can use one processor"},
		{Name: "cpus", Value: key.Ints(&s.CPUs, 0, 1023), Live: key.Restart,
			Doc: "the CPU that each worker is pinned to, as many as there are workers; empty: none is pinned"},
		{Name: "poll", Value: pollValue(&s.Poll), Doc: `how workers wait for frames: "adaptive": as costs least, within ` + "`latency`" + `; a duration: they poll for so long after the last frame, where that pays, and then sleep; "always": they never sleep`},
		{Name: "latency", Value: key.Duration(&s.Latency, 0, time.Millisecond),
			Doc: `with poll = "adaptive", how long frames may wait, so that several are taken together`},
		{Name: "mac_aging_time", Value: key.Duration(&s.MACAging, time.Second, 24*time.Hour),
			Doc: "how long a learned address is remembered that is not seen again"},
		{Name: "mac_hold_down", Value: key.Duration(&s.HoldDown, 0, 24*time.Hour),
			Doc: `how long an address that has moved between ports 5 times in 180 s stays where it is; "0s": it moves; see [layer 2](layer2.md#forwarding-database)`},
		{Name: "mac_table_size", Value: key.Int(&s.MACTable, 10, 1<<20), Live: key.Restart, Doc: "most FDB entries, learned and static"},
		{Name: "socket_dir", Value: key.Directory(&s.SocketDir), Doc: "where the sockets of ports are that name none"},
		{Name: "mcast_snooping", Value: key.Bool(&s.McastSnooping),
			Doc: "IP multicast goes only to ports behind which a station has joined the group; see [layer 2](layer2.md#multicast-snooping)"},
		{Name: "mcast_unregistered", Value: key.OneOf(&s.McastUnregistered, vswitch.McastToRouters, vswitch.McastFlooded),
			Doc: "with snooping, where frames go to a group that nobody has joined"},
	}
	keys = append(keys, querierKeys(&s.McastQuerier)...)
	keys = append(keys, loopKeys(s)...)
	return append(keys, s.PortSockets.Keys(key.Now, "sockets of ports that do not say it themselves")...)
}

func querierKeys(q *vswitch.QuerierConfig) []key.Key {
	return []key.Key{
		{Name: "mcast_querier", Value: key.Bool(&q.On),
			Doc: "the switch sends the queries without which snooping has no effect, while no other querier with a lower address does; see [layer 2](layer2.md#multicast-snooping)"},
		{Name: "mcast_querier_vlans", Value: key.Ranges(&q.VLANs, 0, 4094), Doc: "the VLANs in which the switch sends queries; empty: those of ports' untagged frames"},
		{Name: "mcast_querier_ipv4", Value: key.OptionalIP(&q.IPv4, querierIPv4),
			Doc: `the address from which IGMP queries are sent; "": 0.0.0.0, which any other address wins against`},
		{Name: "mcast_querier_ipv6", Value: key.OptionalIP(&q.IPv6, querierIPv6),
			Doc: `the link-local address from which MLD queries are sent; "": one made of the switch's Ethernet address, which is chosen at start`},
		{Name: "mcast_igmp_version", Value: key.Int(&q.IGMP, 2, 3), Doc: "the version of IGMP queries"},
		{Name: "mcast_mld_version", Value: key.Int(&q.MLD, 1, 2), Doc: "the version of MLD queries"},
	}
}

func loopKeys(s *Switch) []key.Key {
	return []key.Key{
		{Name: "loop_detection", Value: key.Bool(&s.LoopDetection),
			Doc: "ports that are connected outside of the switch are found by probes, and one of them is blocked; see [layer 2](layer2.md#loops)"},
		{Name: "loop_block_time", Value: key.Duration(&s.LoopBlockTime, vswitch.MinLoopBlockTime, 24*time.Hour),
			Doc: "how long a port is blocked at first; up to a quarter is added, and the time doubles while the loop is there"},
	}
}

func querierIPv4(a netip.Addr) error {
	if !a.Is4() {
		return errors.New("not an IPv4 address")
	}
	return vswitch.CheckQuerierAddress(a)
}

func querierIPv6(a netip.Addr) error {
	if !a.Is6() {
		return errors.New("not an IPv6 address")
	}
	return vswitch.CheckQuerierAddress(a)
}

func (e *FDBEntry) keys() []key.Key {
	return []key.Key{
		{Name: "mac", Value: key.MAC(&e.MAC), Required: true, Example: `"52:54:00:00:00:03"`, Doc: "the address"},
		{Name: "vlan", Value: key.Int(&e.VLAN, 0, 4095), Default: "that of the port's untagged frames; of a blackhole: all", Doc: "the VLAN in which it is"},
		{Name: "port", Value: key.Text(&e.Port), Example: `"vm1"`, Doc: "the name of the port that it is behind; an entry without `blackhole` needs it"},
		{Name: "sticky", Value: key.Bool(&e.sticky), Doc: "the entry does not move to another port, but ages; without it, it does neither"},
		{Name: "blackhole", Value: key.Bool(&e.blackhole), Doc: "frames to the address are dropped"},
	}
}

// Keys declares the keys for the owner and mode of a socket. socket is the name of that socket in
// the documentation.
func (a *Access) Keys(live key.Live, socket string) []key.Key {
	return []key.Key{
		{Name: "socket_owner", Value: key.User(&a.UID, a.accounts), Live: live, Doc: "the owner of " + socket + `; "": who runs vswitchd`},
		{Name: "socket_group", Value: key.Group(&a.GID, a.accounts), Live: live, Doc: "the group of " + socket + `; "": that of vswitchd`},
		{Name: "socket_mode", Value: key.FileMode(&a.Mode), Live: live, Doc: "the permissions of " + socket},
	}
}

// Access determines who may open a socket file.
type Access struct {
	UID, GID int         // -1: that of the process
	Mode     fs.FileMode // permission bits only

	accounts *key.Accounts // where names are looked for that the system cannot be asked for; may be nil
}

// Poll is how long a worker without work polls before it sleeps.
type Poll struct {
	Always   bool          // the worker never sleeps; For is 0
	Adaptive bool          // the worker decides; For is 0
	For      time.Duration // 0: the worker sleeps at once
}

func pollValue(dst *Poll) key.Value {
	return key.Make(`string, "adaptive", "always", or a duration from 0s to 1s`, dst, func(v any) (Poll, error) {
		switch v {
		case "always":
			return Poll{Always: true}, nil
		case "adaptive":
			return Poll{Adaptive: true}, nil
		}
		d, err := key.ReadDuration(v, 0, time.Second)
		if err != nil {
			err = fmt.Errorf(`%w, or "adaptive", or "always"`, err)
		}
		return Poll{For: d}, err
	}, func(p Poll) any {
		switch {
		case p.Always:
			return "always"
		case p.Adaptive:
			return "adaptive"
		}
		return key.ShowDuration(p.For)
	})
}

// defaults returns a configuration without ports.
func defaults() *Config {
	access := Access{UID: -1, GID: -1, Mode: 0o660}
	return &Config{
		Log:     Log{Level: "info", Format: "text"},
		Control: Control{Socket: "/run/vswitchd/control.sock", Access: access},
		Switch: Switch{
			MACAging:  300 * time.Second,
			MACTable:  8192,
			Workers:   1,
			Poll:      Poll{Adaptive: true},
			Latency:   100 * time.Microsecond,
			SocketDir: "/run/vswitchd",

			McastUnregistered: vswitch.McastToRouters,
			McastQuerier:      vswitch.QuerierConfig{IGMP: 3, MLD: 2},
			PortSockets:       access,

			LoopDetection: true,
			LoopBlockTime: vswitch.DefaultLoopBlockTime,
		},
		Sandbox: Sandbox{Landlock: true, Seccomp: true, Capabilities: true, NoNewPrivs: true},
	}
}

// vlanKeys declares the keys that determine the VLANs of a port.
func vlanKeys(p *vswitch.PortConfig) []key.Key {
	return []key.Key{
		{Name: "tag", Value: key.Int(&p.Tag, 0, 4095), Doc: "the VLAN of the port's untagged frames, of an access port its only one; 0: none"},
		{Name: "trunks", Value: key.Ranges(&p.Trunks, 0, 4095), Doc: "the VLANs that a trunk carries; empty: all"},
		{Name: "vlan_mode", Value: vlanMode(&p.VLANMode), Default: `"access" with a tag, "trunk" without`,
			Doc: "what the port does with tags, as Open vSwitch does; see [layer 2](layer2.md#vlans)"},
		{Name: "cvlans", Value: key.Ranges(&p.CVLANs, 0, 4095),
			Doc: "with `dot1q-tunnel`, the customer's VLANs that the port carries; 0: frames without a tag; empty: all"},
		{Name: "qinq_ethtype", Value: key.OneOf(&p.QinQ, vswitch.QinQ8021AD, vswitch.QinQ8021Q),
			Doc: "with `dot1q-tunnel`, the type of the outer tag: 0x88A8 or 0x8100"},
		{Name: "priority", Value: key.Int(&p.Priority, 0, 7),
			Doc: "the priority (PCP) of frames that arrive without a tag, and of a tunnel's outer tag"},
		{Name: "priority_override", Value: key.Bool(&p.PriorityOverride),
			Doc: "frames that arrive with a tag get the port's priority as well"},
		{Name: "priority_tags", Value: key.OneOf(&p.PriorityTags,
			vswitch.PriorityTagsKeep, vswitch.PriorityTagsNo, vswitch.PriorityTagsNonzero, vswitch.PriorityTagsAlways),
			Doc: "frames that leave without a VLAN and have a tag of VLAN 0; `keep`: those that came with one"},
	}
}

// policyKeys declares the keys that determine how the switch handles a port in every VLAN.
func policyKeys(p *vswitch.PortConfig) []key.Key {
	keys := []key.Key{
		{Name: "learning", Value: key.Bool(&p.Learning), Doc: "source addresses are learned"},
		{Name: "flood", Value: key.Bool(&p.Flood), Doc: "unicast frames to unknown addresses go to the port"},
		{Name: "mcast_flood", Value: key.Bool(&p.McastFlood), Doc: "multicast frames go to the port"},
		{Name: "mcast_router", Value: key.OneOf(&p.McastRouter, vswitch.McastRouterAuto, vswitch.McastRouterAlways, vswitch.McastRouterNever),
			Doc: "with multicast snooping, the port gets all multicast; `auto`: while a multicast router is behind it"},
		{Name: "mcast_fast_leave", Value: key.Bool(&p.McastFastLeave),
			Doc: "with multicast snooping, one station that leaves a group ends the port's membership"},
		{Name: "bcast_flood", Value: key.Bool(&p.BcastFlood), Doc: "broadcast frames go to the port"},
		{Name: "isolated", Value: key.Bool(&p.Isolated), Doc: "the port reaches only ports that are neither isolated nor in a community"},
		{Name: "community", Value: key.Printable(&p.Community, key.MaxName),
			Doc: "ports with the same name here reach each other, and ports that are neither isolated nor in a community; see [layer 2](layer2.md#isolation)"},
		{Name: "neigh_suppress", Value: key.Bool(&p.NeighSuppress),
			Doc: "ARP requests and IPv6 neighbor solicitations for stations that the switch knows are not flooded to the port; for those behind such a port the switch answers; see [layer 2](layer2.md#neighbor-suppression)"},
		{Name: "hairpin", Value: key.Bool(&p.Hairpin), Doc: "frames may leave by the port that they came in by"},
		{Name: "loop_detection", Value: key.Bool(&p.LoopDetection),
			Doc: "with the switch's `loop_detection`, probes are sent to the port, and the port may be blocked; see [layer 2](layer2.md#loops)"},
		{Name: "max_macs", Value: key.Int(&p.MaxMACs, 0, 1<<20), Doc: "most addresses that are learned from the port; 0: no limit but the table's"},
		{Name: "group_fwd_mask", Value: key.Int(&p.GroupFwdMask, 0, 0xffff),
			Doc: "bit N: frames from the port to the reserved address 01:80:C2:00:00:0N are forwarded; bit 0: those of PVST+ as well"},
	}
	return slices.Concat(keys, guardKeys(&p.Guards), filterKeys(p), rateKeys(p))
}

// filterKeys name the filters of a port.
func filterKeys(p *vswitch.PortConfig) []key.Key {
	return []key.Key{
		{Name: "ingress_filter", Value: key.Text(&p.IngressFilter), Doc: "the name of the filter of frames from the port, see [layer 2](layer2.md#filters); \"\": none"},
		{Name: "egress_filter", Value: key.Text(&p.EgressFilter), Doc: "the name of the filter of frames to the port; \"\": none"},
	}
}

// guardKeys declares the keys that restrict what a port may send.
func guardKeys(g *vswitch.Guards) []key.Key {
	return []key.Key{
		{Name: "allowed_macs", Value: key.MACs(&g.AllowedMACs), Doc: "source addresses that frames from the port may have; empty: any"},
		{Name: "allowed_ips", Value: key.Networks(&g.AllowedIPs), Doc: "IP addresses and prefixes that the station may use; empty: any"},
		{Name: "allowed_link_local", Value: linkLocal(&g.EUI64LinkLocal), Default: `"any"`,
			Doc: "IPv6 link-local addresses allowed besides `allowed_ips`: `eui64`: those made of `allowed_macs`"},
		{Name: "locked", Value: key.Bool(&g.Locked), Doc: "only addresses with a static FDB entry of the port may send"},
		{Name: "dhcp_guard", Value: key.Bool(&g.DHCP), Doc: "what DHCP servers send is dropped if it comes from the port"},
		{Name: "ra_guard", Value: key.Bool(&g.RA), Doc: "IPv6 router advertisements and redirects from the port are dropped"},
		{Name: "bpdu_guard", Value: key.Bool(&g.BPDU), Doc: "BPDUs from the port are dropped, whatever `group_fwd_mask` says"},
	}
}

// rateKeys say how much a port may send, and is sent.
func rateKeys(p *vswitch.PortConfig) []key.Key {
	return []key.Key{
		{Name: "ingress_policing_rate", Value: key.Rate(&p.IngressPolicingRate, vswitch.MinRate, vswitch.MaxRate),
			Doc: `most bits per second from the port; frames beyond are dropped; "0": no limit`},
		{Name: "ingress_policing_burst", Value: key.Size(&p.IngressPolicingBurst, 0, vswitch.MaxBurst),
			Doc: `bytes that may come from the port at once, after a time with less; "0": what the rate gives in 20 ms`},
		{Name: "ingress_policing_pps", Value: key.Int(&p.IngressPolicingPPS, 0, vswitch.MaxPPS),
			Doc: "most frames per second from the port; 0: no limit"},
		{Name: "egress_rate", Value: key.Rate(&p.EgressRate, vswitch.MinRate, vswitch.MaxRate),
			Doc: `most bits per second to the port; frames beyond are dropped; "0": no limit`},
		{Name: "egress_burst", Value: key.Size(&p.EgressBurst, 0, vswitch.MaxBurst),
			Doc: `as ingress_policing_burst, to the port`},
		{Name: "storm_control_pps", Value: key.Int(&p.StormControlPPS, 0, vswitch.MaxPPS),
			Doc: "most frames per second from the port that are flooded: broadcast, multicast and unknown unicast together; 0: no limit"},
		{Name: "storm_control_bcast_pps", Value: key.Int(&p.StormControlBcastPPS, 0, vswitch.MaxPPS),
			Doc: "the same for broadcast frames alone"},
		{Name: "storm_control_mcast_pps", Value: key.Int(&p.StormControlMcastPPS, 0, vswitch.MaxPPS),
			Doc: "the same for multicast frames alone"},
		{Name: "storm_control_unknown_pps", Value: key.Int(&p.StormControlUnknownPPS, 0, vswitch.MaxPPS),
			Doc: "the same for unicast frames to unknown addresses alone"},
	}
}

// linkLocal is whether link-local addresses have to be made of MAC addresses.
func linkLocal(eui64 *bool) key.Value {
	words := []string{"any", "eui64"}
	return key.Make(key.Words(words), eui64, func(v any) (bool, error) {
		s, err := key.Word(v, words...)
		return s == "eui64", err
	}, func(on bool) any {
		if on {
			return "eui64"
		}
		return "any"
	})
}

func vlanMode(dst *vswitch.VLANMode) key.Value {
	words := []string{""}
	for m := vswitch.VLANAccess; m <= vswitch.VLANTunnel; m++ {
		words = append(words, m.String())
	}
	return key.Make(key.Words(words[1:]), dst, func(v any) (vswitch.VLANMode, error) {
		s, err := key.Word(v, words...)
		if err != nil {
			return 0, err
		}
		return vswitch.ParseVLANMode(s)
	}, func(m vswitch.VLANMode) any { return m.String() })
}
