package doctor

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"vswitchd/internal/control"
)

// healthy is a switch with two guests and an uplink, which has nothing wrong.
func healthy() *Case {
	c := &Case{
		Interval: 2 * time.Second, Client: "1.0",
		Host: &Host{
			ControlSocket: File{Exists: true, Mode: fs.ModeSocket | 0o660, Owner: "root:root"},
			Sockets: map[string]File{
				"/run/a.sock": {Exists: true, Mode: fs.ModeSocket | 0o660, Owner: "root:kvm"},
				"/run/b.sock": {Exists: true, Mode: fs.ModeSocket | 0o660, Owner: "root:kvm"},
			},
			Processes: []Process{qemu(100, "/run/a.sock", ",reconnect=1"), qemu(101, "/run/b.sock", ",reconnect-ms=100")},
		},
	}
	for _, s := range []*Sample{&c.Before, &c.After} {
		*s = Sample{
			Switch: control.SwitchInfo{SwitchStatus: control.SwitchStatus{
				Version: "1.0", FDBEntries: 3, FDBSize: 100, FDBEvents: control.Tally{}, Processors: 4,
				Workers: []control.Worker{{CPU: -1, Sources: 3}, {CPU: -1, Sources: 2}},
				Limits:  []control.Limit{{Resource: "file-descriptors", Used: 10, Limit: 100, SetBy: "RLIMIT_NOFILE"}},
			}},
			Ports: []control.PortDetail{
				{
					PortInfo: control.PortInfo{
						Name: "lan", Kind: control.KindUplink, State: control.StateRunning, Interface: "eth1", Link: "up", MTU: 1500, VLAN: control.VLAN{Mode: "trunk"},
						Counters: counters(),
					},
					Reception: &control.Reception{Promiscuous: true},
				},
				guest("a", 100), guest("b", 101),
			},
		}
	}
	return c
}

func counters() control.Counters {
	return control.Counters{RxFrames: 50000, TxFrames: 50000, Drops: control.Tally{}, FDBEvents: control.Tally{}, LoopEvents: control.Tally{}, Resets: control.Tally{}}
}

func qemu(pid int, socket, reconnect string) Process {
	return Process{PID: pid, Args: []string{
		"/usr/bin/qemu-system-x86_64", "-object", "memory-backend-memfd,id=mem,size=1G,share=on", "-chardev", "socket,id=c,path=" + socket + reconnect,
		"-netdev", "vhost-user,id=n,chardev=c,queues=2", "-device", "virtio-net-pci,netdev=n,mq=on,rx_queue_size=1024",
	}}
}

func guest(name string, pid int) control.PortDetail {
	d := control.PortDetail{
		PortInfo: control.PortInfo{
			Name: name, Kind: control.KindGuest, State: control.StateRunning, Socket: "/run/" + name + ".sock", Mode: "server", Queues: 2,
			Features: []string{"MQ", "CSUM"}, Offloads: []string{"csum", "tso", "ufo", "uso"}, VLAN: control.VLAN{Mode: "trunk"},
			Settings: control.Settings{{Key: "queues", Value: 2}}, Flags: control.Settings{{Key: "max_macs", Value: 0}},
			FDB: control.FDBCount{Dynamic: 1}, Counters: counters(),
		},
		FeaturesNotAcked: []string{"CTRL_VQ"}, ProtocolFeaturesNotAcked: []string{"CONFIG"},
		Session: &control.Session{AgeS: 100, PeerPID: pid, Number: 1},
		Memory:  &control.Memory{Mapped: 1 << 30, Max: 1 << 40},
		Regions: []control.Region{{Size: 1 << 30}},
	}
	for i := range 4 {
		idx := uint16(300)
		r := control.Ring{Index: i, Direction: "to-guest", Format: "split", Size: 1024, Started: true, Running: true, Enabled: true, AvailIdx: &idx, Avail: 200, Used: 200}
		if i%2 == 1 {
			r.Direction, r.Avail, r.Used = "from-guest", 300, 300
		}
		d.Rings = append(d.Rings, r)
	}
	return d
}

func TestHealthySwitchHasNoFindings(t *testing.T) {
	for _, only := range []string{"", "a"} {
		r := Examine(healthy(), only)
		if len(r.Findings) > 0 || r.Grave() {
			t.Errorf("only %q: %+v", only, r.Findings)
		}
		if want := map[string]int{"": 3, "a": 1}[only]; r.Ports != want || r.Checks != len(IDs()) || r.SampledS != 2 {
			t.Errorf("only %q: %+v", only, r)
		}
	}
}

// An empty switch, and one of which only the API is known, give no findings and no panic.
func TestLittleIsKnown(t *testing.T) {
	c := healthy()
	c.Host, c.Interval = nil, 0
	for _, c := range []*Case{{}, {After: healthy().After}, c} {
		if r := Examine(c, ""); len(r.Findings) > 0 {
			t.Errorf("%+v", r.Findings)
		}
	}
}

// Port a is the one that the scenarios of TestChecks change.
func portA(c *Case) *control.PortDetail { return &c.After.Ports[1] }
func lan(c *Case) *control.PortDetail   { return &c.After.Ports[0] }

// both changes port a in both samples.
func both(c *Case, change func(*control.PortDetail)) {
	change(&c.Before.Ports[1])
	change(&c.After.Ports[1])
}

// hint makes a switch whose port a has a hint.
func hint(cause control.HintCause) func(*Case) {
	return func(c *Case) { portA(c).Hint, portA(c).HintCause = "words", cause }
}

// leaves makes a port from which the front-end has gone, in order or not.
func leaves(lastError string) func(*Case) {
	return func(c *Case) {
		both(c, func(p *control.PortDetail) {
			p.State, p.Session, p.Rings, p.LastError = control.StateListening, nil, nil, lastError
			p.LastEnd = &control.End{Reason: "front-end disconnected", AgoS: 3}
		})
		c.Host.Processes = c.Host.Processes[1:]
	}
}

// event counts events in a tally of port a, before the first sample and until the second one.
func event(tally func(*control.PortDetail) control.Tally, name string, was, now uint64) func(*Case) {
	return func(c *Case) {
		tally(&c.Before.Ports[1])[name] = was
		tally(&c.After.Ports[1])[name] = now
	}
}

func ofDrops(p *control.PortDetail) control.Tally     { return p.Counters.Drops }
func ofAddresses(p *control.PortDetail) control.Tally { return p.Counters.FDBEvents }
func ofResets(p *control.PortDetail) control.Tally    { return p.Counters.Resets }

// link sets the state of an interface.
func link(state string, kind control.Kind) func(*Case) {
	return func(c *Case) { lan(c).Link, lan(c).Kind, lan(c).State = state, kind, control.StateWaiting }
}

// ring changes a ring of port a.
func ring(index int, change func(*control.Ring)) func(*Case) {
	return func(c *Case) {
		both(c, func(p *control.PortDetail) { p.Rings = slices.Clone(p.Rings); change(&p.Rings[index]) })
	}
}

// worker lets worker 0 work: parts of the time between the samples.
func worker(busy, ran, waited float64) func(*Case) {
	return func(c *Case) {
		c.After.Switch.Workers = slices.Clone(c.After.Switch.Workers)
		w, s := &c.After.Switch.Workers[0], c.Interval.Seconds()
		w.BusyS, w.CPUS, w.WaitedS = busy*s, ran*s, waited*s
	}
}

// all makes several changes.
func all(changes ...func(*Case)) func(*Case) {
	return func(c *Case) {
		for _, change := range changes {
			change(c)
		}
	}
}

// smallRings makes port a's receive rings those of QEMU's default.
func smallRings(c *Case) {
	both(c, func(p *control.PortDetail) {
		p.Rings = slices.Clone(p.Rings)
		p.Rings[0].Size, p.Rings[2].Size = 256, 256
	})
}

// A scenario is a switch with something wrong, or nearly so.
type scenario struct {
	name     string
	change   func(*Case)
	id       string
	severity Severity // "": the check finds nothing
	only     bool     // port a is examined alone
}

var scenarios = []scenario{
	{"kicks and empty rings", hint(control.HintMemoryNotShared), "memory-not-shared", Error, false},
	{"a hint of another kind", hint(control.HintOffer), "memory-not-shared", "", false},
	{"share=off, and empty rings", all(unusedRings, private("share=off")), "memory-not-shared", Error, false},
	{"no memory backend, and empty rings", all(unusedRings, private("")), "memory-not-shared", Error, false},
	{"empty rings", unusedRings, "memory-not-shared", "", false},
	{"share=off of memory that the rings are not in", private("share=off"), "memory-not-shared", "", false},
	{"share=off, and silent", all(silent(100), unusedRings, private("share=off")), "silent-guest", "", false},
	{"rings without addresses", hint(control.HintBigEndian), "big-endian-driver", Error, false},
	{"garbage", hint(control.HintNotVhostUser), "not-vhost-user", Error, false},
	{"leaves early", hint(control.HintOffer), "offer-too-small", Error, false},

	{"another one waits", func(c *Case) { portA(c).Session.OtherWaiting = true }, "second-front-end", Warning, false},
	{"QEMU without reconnect", func(c *Case) { c.Host.Processes[0] = qemu(100, "/run/a.sock", "") }, "no-reconnect", Warning, false},
	{"reconnect=0", func(c *Case) { c.Host.Processes[0] = qemu(100, "/run/a.sock", ",reconnect=0") }, "no-reconnect", Warning, false},
	{"QEMU listens", func(c *Case) { c.Host.Processes[0] = qemu(100, "/run/a.sock", ",server=on") }, "no-reconnect", "", false},
	{"no command line", func(c *Case) { c.Host.Processes = nil }, "no-reconnect", "", false},
	{"QEMU is left over", all(leaves(""), func(c *Case) { c.Host.Processes = []Process{qemu(100, "/run/a.sock", "")} }), "no-reconnect", Error, false},
	{"QEMU tries again", all(leaves(""), func(c *Case) { c.Host.Processes = []Process{qemu(100, "/run/a.sock", ",reconnect=1")} }), "no-reconnect", "", false},
	{"crashed", leaves("front-end disconnected while its rings were running"), "front-end-lost", Warning, false},
	{"left in order", leaves(""), "front-end-lost", "", false},
	{"nobody, and asked for", leaves(""), "no-front-end", Warning, true},
	{"nobody", leaves(""), "no-front-end", "", false},
	{"finds nobody", func(c *Case) { leaves("")(c); portA(c).State = control.StateConnecting }, "no-front-end", Warning, true},

	{"no driver for a minute", func(c *Case) { portA(c).State, portA(c).Session.AgeS = control.StateConnected, readyAfter }, "driver-not-ready", Warning, false},
	{"boots", func(c *Case) { portA(c).State, portA(c).Session.AgeS = control.StateConnected, readyAfter-1 }, "driver-not-ready", "", false},
	{"boots, asked for", func(c *Case) { portA(c).State, portA(c).Session.AgeS = control.StateConnected, 1 }, "driver-not-ready", Warning, true},
	{"has sent nothing", silent(silentAfter), "silent-guest", Warning, false},
	{"has sent nothing yet", silent(silentAfter - 1), "silent-guest", "", false},
	{"has sent by its second queue", all(silent(100), ring(3, func(r *control.Ring) { r.Avail = 1 })), "silent-guest", "", false},
	{"packed, has sent nothing", all(silent(100), ring(1, packed(0, 1)), ring(3, packed(0, 1))), "silent-guest", Warning, false},
	{"packed, has sent a ring", all(silent(100), ring(1, packed(0, 0)), ring(3, packed(0, 1))), "silent-guest", "", false},

	{"socket removed", func(c *Case) { c.Host.Sockets["/run/a.sock"] = File{} }, "socket-missing", Error, false},
	{"socket not looked at", func(c *Case) { delete(c.Host.Sockets, "/run/a.sock") }, "socket-missing", "", false},
	{"QEMU's socket", func(c *Case) { c.Host.Sockets["/run/a.sock"] = File{}; portA(c).Mode = "client" }, "socket-missing", "", false},
	{"socket 0666", func(c *Case) { c.Host.Sockets["/run/a.sock"] = File{Exists: true, Mode: 0o666} }, "socket-open", Warning, false},
	{"socket 0664", func(c *Case) { c.Host.Sockets["/run/a.sock"] = File{Exists: true, Mode: 0o664} }, "socket-open", "", false},
	{"control socket 0662", func(c *Case) { c.Host.ControlSocket.Mode = 0o662 }, "control-socket-open", Warning, false},

	{"state error", func(c *Case) { lan(c).State = control.StateError }, "port-error", Error, false},
	{"loop", func(c *Case) { portA(c).Loop = &control.Loop{Port: "lan"}; portA(c).State = control.StateBlocked }, "loop-blocked", Error, false},
	{"resets now", event(ofResets, "bad-ring", 1, 2), "resets", Warning, false},
	{"resets before", event(ofResets, "bad-ring", 2, 2), "resets", Note, false},
	{"killed", event(ofResets, "died", 1, 2), "resets", "", false},

	{"no interface", link("absent", control.KindUplink), "interface-absent", Error, false},
	{"set down", link("down", control.KindUplink), "interface-down", Error, false},
	{"the pair's end set down", link("down", control.KindHost), "interface-down", Error, false},
	{"no carrier", link("no-carrier", control.KindUplink), "no-carrier", Error, false},
	{"the host's end set down", link("no-carrier", control.KindHost), "no-carrier", Error, false},
	{"taken", link("taken", control.KindUplink), "interface-taken", Error, false},
	{"257 stations", func(c *Case) { lan(c).Reception = &control.Reception{Addresses: 256, LeftOut: 1} }, "addresses-left-out", Warning, false},
	{"256 stations", func(c *Case) { lan(c).Reception = &control.Reception{Addresses: 256} }, "addresses-left-out", "", false},
	{"merges", func(c *Case) { lan(c).Reception.LRO = true }, "lro", Warning, false},

	{"alone in VLAN 7", vlans("access 7", "access 8", "trunk 8,9"), "vlan-alone", Warning, false},
	{"trunk in VLAN 7", vlans("access 7", "access 8", "trunk 7,8"), "vlan-alone", "", false},
	{"trunk for all", vlans("access 7", "access 8", "trunk"), "vlan-alone", "", false},
	{"native VLAN", vlans("access 7", "access 8", "native-untagged 8,7"), "vlan-alone", "", false},
	{"untagged beside a native VLAN", vlans("trunk 0", "access 8", "native-tagged 8"), "vlan-alone", Warning, false},
	{"tunnel", vlans("dot1q-tunnel 7", "access 8", "native-tagged 8"), "vlan-alone", "", false},

	{"256, drops now", all(smallRings, event(ofDrops, "ring-full", 5, 6)), "small-ring", Warning, false},
	{"256, dropped a thousandth", all(smallRings, event(ofDrops, "ring-full", 100, 100)), "small-ring", Note, false},
	{"256, dropped a few", all(smallRings, event(ofDrops, "ring-full", 99, 99)), "small-ring", "", false},
	{"1024, drops now", event(ofDrops, "ring-full", 5, 6), "small-ring", "", false},
	{"1024, too slow", event(ofDrops, "ring-full", 5, 6), "ring-full", Warning, false},
	{"1024, was too slow", event(ofDrops, "ring-full", 1000, 1000), "ring-full", Note, false},
	{"256, too slow", all(smallRings, event(ofDrops, "ring-full", 5, 6)), "ring-full", "", false},
	{"broken", ring(1, func(r *control.Ring) { r.Broken, r.Running = "bad virtqueue", false }), "ring-broken", Error, false},
	{"suspended", ring(1, func(r *control.Ring) { r.Running = false }), "ring-suspended", Warning, false},
	{"stopped", ring(1, func(r *control.Ring) { r.Running, r.Started = false, false }), "ring-suspended", "", false},
	{"stands still", ring(1, func(r *control.Ring) { r.Waiting = 3 }), "ring-stuck", Error, false},
	{"moves", all(ring(1, func(r *control.Ring) { r.Waiting = 3 }), func(c *Case) { portA(c).Rings[1].Used++ }), "ring-stuck", "", false},
	{"a queue that is not used", ring(1, func(r *control.Ring) { r.Waiting, r.Enabled = 3, false }), "ring-stuck", "", false},
	{"buffers wait, as they should", ring(0, func(r *control.Ring) { r.Waiting = 3 }), "ring-stuck", "", false},

	{"no tso", func(c *Case) { portA(c).Offloads = []string{"csum"} }, "offloads-off", Note, false},
	{"no ufo", func(c *Case) { portA(c).Offloads = []string{"csum", "tso"} }, "offloads-off", "", false},
	{"not acknowledged", func(c *Case) { portA(c).FeaturesNotAcked = []string{"HOST_TSO4"} }, "offloads-not-used", Note, false},
	{"turned off", func(c *Case) {
		portA(c).Session.ControlQueue = &control.ControlQueue{OffloadsOff: []string{"GUEST_CSUM"}}
	}, "offloads-not-used", Note, false},
	{"ufo not acknowledged", func(c *Case) { portA(c).FeaturesNotAcked = []string{"HOST_UFO"} }, "offloads-not-used", "", false},
	{"QEMU without mq", func(c *Case) { portA(c).Queues, portA(c).FeaturesNotAcked = 1, []string{"MQ"} }, "queues-not-used", Note, false},
	{"a guest with one processor", func(c *Case) { portA(c).Queues = 1 }, "queues-not-used", Note, false},
	{"one queue, asked for", oneQueue, "one-queue-offered", Note, true},
	{"one queue", oneQueue, "one-queue-offered", "", false},
	{"two queues", func(*Case) {}, "one-queue-offered", "", true},
	{"one of two queues", traffic(2000, 1), "one-queue-busy", Note, false},
	{"two of two queues", traffic(2000, 1, 3), "one-queue-busy", "", false},
	{"little traffic", traffic(1998, 1), "one-queue-busy", "", false},
	{"one worker", all(traffic(2000, 1), func(c *Case) { c.After.Switch.Workers = c.After.Switch.Workers[:1] }), "one-queue-busy", "", false},

	{"jumbo guest", func(c *Case) { portA(c).MTU = 1501 }, "mtu-mismatch", Warning, false},
	{"guest like the uplink", func(c *Case) { portA(c).MTU = 1500 }, "mtu-mismatch", "", false},
	{"guest that is told nothing, small uplink", func(c *Case) { lan(c).MTU = 1400 }, "mtu-mismatch", Warning, false},
	{"jumbo uplink", func(c *Case) { lan(c).MTU = 9000 }, "mtu-mismatch", "", false},
	{"jumbo uplink, guest that is told", func(c *Case) { lan(c).MTU, portA(c).MTU = 9000, 1500 }, "mtu-mismatch", Note, false},
	{"the same, with drops", all(event(ofDrops, "too-big", 0, 1), func(c *Case) { lan(c).MTU, portA(c).MTU = 9000, 1500 }), "mtu-mismatch", Warning, false},
	{"jumbo guest in another VLAN", all(vlans("access 7", "access 7", "access 8"), func(c *Case) { portA(c).MTU = 9000 }), "mtu-mismatch", "", false},
	{"uplink that is down", all(link("down", control.KindUplink), func(c *Case) { portA(c).MTU = 9000 }), "mtu-mismatch", "", false},

	{"migration", func(c *Case) { portA(c).Session.DirtyLog.On = true }, "migrating", Note, false},
	{"messages", func(c *Case) { portA(c).SlowedMessages = 1 }, "slowed-messages", Warning, false},
	{"messages before", func(c *Case) { both(c, func(p *control.PortDetail) { p.SlowedMessages = 7 }) }, "slowed-messages", "", false},
	{"memory at 90 %", func(c *Case) { portA(c).Memory = &control.Memory{Mapped: 90, Max: 100} }, "memory-near-limit", Warning, false},
	{"memory at 89 %", func(c *Case) { portA(c).Memory = &control.Memory{Mapped: 89, Max: 100} }, "memory-near-limit", "", false},
	{"flaps", event(ofAddresses, "flapped", 1, 2), "addresses-flap", Warning, false},
	{"flapped", event(ofAddresses, "flapped", 2, 2), "addresses-flap", Note, false},
	{"held", all(event(ofAddresses, "flapped", 2, 2), event(ofAddresses, "held", 0, 9)), "addresses-flap", Warning, false},
	{"moved once", event(ofAddresses, "moved", 0, 1), "addresses-flap", "", false},
	{"forges", event(ofAddresses, "static_claims", 0, 1), "address-claimed", Warning, false},
	{"forged", event(ofAddresses, "static_claims", 1, 1), "address-claimed", Note, false},
	{"max_macs", event(ofAddresses, "limited", 0, 1), "addresses-not-learned", Warning, false},
	{"no room", event(ofAddresses, "full", 1, 1), "addresses-not-learned", Note, false},
	{"QEMU 7.1", func(c *Case) { portA(c).ProtocolFeaturesNotAcked = []string{"CONFIG", "STATUS"} }, "old-qemu", Note, false},
	{"another front-end without STATUS", func(c *Case) {
		portA(c).ProtocolFeaturesNotAcked = []string{"STATUS"}
		c.Host.Processes[0].Args[0] = "dpdk-testpmd"
	}, "old-qemu", "", false},

	{"worker at 90 %", worker(0.9, 0.9, 0), "worker-saturated", Warning, false},
	{"worker at 89 %", worker(0.89, 1, 0), "worker-saturated", "", false},
	{"waits for a tenth", worker(0.1, 0.2, 0.1), "worker-starved", Warning, false},
	{"waits for less", worker(0.1, 0.2, 0.09), "worker-starved", "", false},
	{"polls", worker(0.04, 0.6, 0), "polling-in-vain", Note, false},
	{"polls less", worker(0.04, 0.5, 0), "polling-in-vain", "", false},
	{"polls, and finds a tenth", worker(0.1, 0.9, 0), "polling-in-vain", "", false},
	{"descriptors at 90 %", func(c *Case) {
		c.After.Switch.Limits = []control.Limit{{Resource: "file-descriptors", Used: 90, Limit: 100}}
	}, "limit-near", Warning, false},
	{"descriptors at 89 %", func(c *Case) {
		c.After.Switch.Limits = []control.Limit{{Resource: "file-descriptors", Used: 89, Limit: 100}}
	}, "limit-near", "", false},
	{"memory at 90 %", func(c *Case) {
		c.After.Switch.Limits = []control.Limit{{Resource: "memory", Used: 90, Limit: 100}}
	}, "limit-near", Warning, false},
	{"table at 90 %", func(c *Case) { c.After.Switch.FDBEntries = 90 }, "fdb-nearly-full", Warning, false},
	{"table at 89 %", func(c *Case) { c.After.Switch.FDBEntries = 89 }, "fdb-nearly-full", "", false},
	{"file with an error", func(c *Case) { c.Config = Configuration{FilePath: "f", FileError: "f:1: tag", Unsaved: 1} }, "config-file", Warning, false},
	{"not saved", func(c *Case) { c.Config = Configuration{FilePath: "f", Unsaved: 1} }, "config-not-saved", Note, false},
	{"no file", func(c *Case) { c.Config = Configuration{Unsaved: 1} }, "config-not-saved", "", false},
	{"updated", func(c *Case) { c.Client = "1.1" }, "versions-differ", Note, false},
	{"no Landlock", sandboxed("unavailable"), "sandbox-incomplete", Note, false},
	{"Landlock failed", sandboxed("failed"), "sandbox-incomplete", Warning, false},
	{"Landlock switched off", sandboxed("off"), "sandbox-incomplete", "", false},
	{"Landlock holds", sandboxed("on"), "sandbox-incomplete", "", false},
}

// sandboxed makes a sandbox with Landlock in a state.
func sandboxed(state string) func(*Case) {
	return func(c *Case) {
		c.After.Switch.Sandbox.Parts = []control.SandboxPart{{Name: "seccomp", State: "on"}, {Name: "landlock", State: state, Detail: "so"}}
	}
}

// oneQueue makes a port that offers one queue pair.
func oneQueue(c *Case) {
	portA(c).Settings, portA(c).Queues = control.Settings{{Key: "queues", Value: 1}}, 1
}

// unusedRings makes a guest whose rings are all empty and always were.
func unusedRings(c *Case) {
	both(c, func(p *control.PortDetail) {
		p.Rings = slices.Clone(p.Rings)
		for i := range p.Rings {
			p.Rings[i].Avail, p.Rings[i].Used, p.Rings[i].AvailIdx = 0, 0, new(uint16)
		}
	})
}

// private gives the memory backend of port a's QEMU another sharing; "": there is no backend.
func private(share string) func(*Case) {
	return func(c *Case) {
		args := slices.Clone(c.Host.Processes[0].Args)
		if share == "" {
			args[1] = "-S"
		} else {
			args[2] = strings.Replace(args[2], "share=on", share, 1)
		}
		c.Host.Processes[0].Args = args
	}
}

// silent makes a guest that has sent nothing since it connected.
func silent(age int64) func(*Case) {
	return func(c *Case) {
		both(c, func(p *control.PortDetail) {
			p.Session = &control.Session{AgeS: age, PeerPID: 100}
			for i := range p.Rings {
				if p.Rings[i].Direction == "from-guest" {
					zero := uint16(0)
					p.Rings[i].Avail, p.Rings[i].Used, p.Rings[i].AvailIdx = 0, 0, &zero
				}
			}
		})
	}
}

// packed makes a packed ring that is at a place.
func packed(place uint16, wrap int) func(*control.Ring) {
	return func(r *control.Ring) {
		r.Format, r.Avail, r.Used, r.AvailIdx, r.AvailWrap, r.UsedWrap = "packed", place, place, nil, &wrap, &wrap
	}
}

// traffic lets port a send frames by some rings.
func traffic(frames uint64, rings ...int) func(*Case) {
	return func(c *Case) {
		portA(c).Counters.RxFrames += frames
		for _, i := range rings {
			portA(c).Rings[i].Used += 100
		}
	}
}

// vlans gives ports a, b and lan a mode and VLANs: "access 7".
func vlans(modes ...string) func(*Case) {
	return func(c *Case) {
		for i, mode := range modes {
			name, list, _ := strings.Cut(mode, " ")
			v := control.VLAN{Mode: name}
			for text := range strings.SplitSeq(list, ",") {
				if text != "" {
					v.Trunks = append(v.Trunks, uint16(text[0]-'0'))
				}
			}
			if name != "trunk" {
				v.Tag, v.Trunks = v.Trunks[0], v.Trunks[1:]
			}
			c.After.Ports[(i+1)%3].VLAN = v
		}
	}
}

func TestChecks(t *testing.T) {
	found := map[string]bool{}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			c := healthy()
			s.change(c)
			only := ""
			if s.only {
				only = "a"
			}
			var got Severity
			for _, f := range Examine(c, only).Findings {
				if f.ID != s.id {
					continue
				}
				if got != "" && s.id != "vlan-alone" && s.id != "mtu-mismatch" {
					t.Errorf("found twice: %+v", f)
				}
				got = f.Severity
				if f.Problem == "" || len(f.Evidence) == 0 || len(f.Advice) == 0 || strings.HasSuffix(f.Problem, ".") {
					t.Errorf("the finding lacks something: %+v", f)
				}
			}
			if got != s.severity {
				t.Errorf("%s is %q, want %q", s.id, got, s.severity)
			}
			found[s.id] = found[s.id] || got != ""
		})
	}
	for _, id := range IDs() {
		if !found[id] && !strings.HasPrefix(id, "drops-") {
			t.Errorf("no scenario of %s", id)
		}
	}
}

// Each reason is a finding while frames are dropped, and afterwards if they were many.
func TestDropChecks(t *testing.T) {
	for _, d := range drops {
		for _, tt := range []struct {
			was, now uint64
			severity Severity
		}{{0, 0, ""}, {5, 6, Warning}, {99, 99, ""}, {100, 100, Note}} {
			if d.wanted && tt.severity == Note {
				tt.severity = ""
			}
			c := healthy()
			port := 1
			if d.reason == "ring-full" || d.reason == "kernel-ring-full" {
				port = 0
			}
			c.Before.Ports[port].Counters.Drops[d.reason] = tt.was
			c.After.Ports[port].Counters.Drops[d.reason] = tt.now
			var got Severity
			for _, f := range Examine(c, "").Findings {
				if f.ID == d.id() {
					got = f.Severity
				}
				if text := f.Problem + words(f.Advice); strings.ContainsAny(text, "{}") || strings.Contains(text, "  ") {
					t.Errorf("%s: %+v", d.reason, f)
				}
			}
			if got != tt.severity {
				t.Errorf("%s, %d and %d: %q, want %q", d.reason, tt.was, tt.now, got, tt.severity)
			}
		}
	}
}

// An uplink gets frames of VLANs that are not for the switch.
func TestForeignVLANsOfAnUplinkAreANote(t *testing.T) {
	c := healthy()
	lan(c).Counters.Drops["vlan"] = 50
	r := Examine(c, "")
	if len(r.Findings) != 1 || r.Findings[0].Severity != Note || r.Grave() {
		t.Errorf("%+v", r.Findings)
	}
}

func TestFindingsAreInOrderOfSeverity(t *testing.T) {
	c := healthy()
	all(event(ofDrops, "bad-chain", 5, 6), event(ofAddresses, "flapped", 2, 2), link("down", control.KindUplink))(c)
	r := Examine(c, "")
	var got []Severity
	for _, f := range r.Findings {
		got = append(got, f.Severity)
	}
	if want := []Severity{Error, Warning, Note}; !slices.Equal(got, want) || !r.Grave() {
		t.Errorf("%v: %+v", got, r.Findings)
	}
}

func TestIDsAreUnique(t *testing.T) {
	ids := IDs()
	slices.Sort(ids)
	if len(slices.Compact(ids)) != len(IDs()) {
		t.Error(ids)
	}
}
