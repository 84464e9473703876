package vswitch_test

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	vswitch "vswitchd/switch"
)

// TestScenarios runs the files in testdata/scenarios, and compares what the switch does with what
// the files say. testdata/scenarios/README.md describes the commands; "go test -run Scenarios
// -rewrite" writes what the switch does into the files.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(text), "# ") {
				t.Errorf("%s does not begin with what it shows", file)
			}
			s := &scenario{lab: newLab(t, vswitch.Config{}), doubles: make(map[string]*refusingPort)}
			datadriven.RunTest(t, file, s.run)
		})
	}
}

// A scenario is a file that is being run.
type scenario struct {
	*lab
	doubles map[string]*refusingPort
	sent    int  // batches so far
	queries bool // the switch sends queries
	wires   []wire
	probed  []string // ports that were sent probes, with their tags, by the last "from"
}

// run executes one command, and returns the output that is compared with the file.
func (s *scenario) run(t *testing.T, d *datadriven.TestData) string {
	commands := map[string]func(*datadriven.TestData) (string, error){
		"switch": s.configure, "attach": s.attachPorts, "set": s.set, "detach": s.detach,
		"up": s.setUp, "down": s.setUp, "takes": s.takes, "local": s.local,
		"from": s.from, "advance": s.advanceClock,
		"static": s.static, "file": s.file, "times": s.times, "delete": s.delete, "flush": s.flush,
		"fdb": s.fdb, "drops": s.dropCounts, "events": s.eventCounts, "mdb": s.mdb, "multicast-events": s.mcastCounts, "members": s.members,
		"conflicts": s.conflicts, "mirror": s.setMirrors, "mirrors": s.mirrorCounts,
		"filter": s.setFilters, "filters": s.filterCounts, "change-set": s.changeSet,
		"wire": s.setWires, "storm": s.storm, "pass": s.passTime, "loop-detection": s.loopDetection,
		"blocked": s.blocked, "loop-log": s.loopLog, "loop-events": s.loopCounts,
		"neighbors": s.neighbors, "neigh": s.neigh, "neigh-events": s.neighCounts,
	}
	do := commands[d.Cmd]
	if do == nil {
		d.Fatalf(t, "no such command")
	}
	out, err := do(d)
	if err != nil {
		s.checkError(err)
		out += err.Error() + "\n"
	}
	s.s.Check(t)
	return out
}

// checkError checks that an error wraps one of the package's errors, so that callers can
// distinguish it.
func (s *scenario) checkError(err error) {
	known := []error{
		vswitch.ErrPortExists, vswitch.ErrNoPort, vswitch.ErrTooManyPorts, vswitch.ErrDetached,
		vswitch.ErrBadName, vswitch.ErrBadVLAN, vswitch.ErrBadMAC, vswitch.ErrAddressPinned,
		vswitch.ErrNoEntry, vswitch.ErrTableFull, vswitch.ErrBadGuard, vswitch.ErrBadRate, vswitch.ErrBadMirror,
		vswitch.ErrBadPrefix, vswitch.ErrBadLinkLocal, vswitch.ErrBadEntry,
		vswitch.ErrBadGroup, vswitch.ErrBadSource, vswitch.ErrGroupExists, vswitch.ErrNoGroup, vswitch.ErrBadCommunity,
		vswitch.ErrBadFilter, vswitch.ErrBadSet, vswitch.ErrNoFilter, vswitch.ErrNoSet, vswitch.ErrBadNeighbor,
	}
	i := slices.IndexFunc(known, func(k error) bool { return errors.Is(err, k) })
	if i < 0 || !strings.Contains(err.Error(), known[i].Error()) {
		s.t.Errorf("the error %q wraps none of the package's", err)
	}
}

// lines returns the lines of a command's input, without comments, split into words.
func lines(d *datadriven.TestData) (all [][]string) {
	for line := range strings.Lines(d.Input) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			all = append(all, words)
		}
	}
	return all
}

// args returns a command's arguments as words.
func args(d *datadriven.TestData) (words []string) {
	for _, a := range d.CmdArgs {
		if len(a.Vals) > 0 {
			words = append(words, a.Key+"="+a.Vals[0])
		} else {
			words = append(words, a.Key)
		}
	}
	return words
}

// port returns the port with a name. An unknown name is a mistake in the file.
func (s *scenario) port(name string) *labPort {
	p := s.ports[name]
	if p == nil {
		s.t.Fatalf("the scenario has no port %q", name)
	}
	return p
}

// must panics at a mistake in the file.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (s *scenario) configure(d *datadriven.TestData) (string, error) {
	var cfg vswitch.Config
	for _, w := range args(d) {
		key, v, _ := strings.Cut(w, "=")
		if loopConfig(&cfg.Loop, key, v) {
			cfg.Address = switchAddress // nothing is added to the times of blocks
			continue
		}
		switch key {
		case "mac_aging_time":
			cfg.FDB.AgingTime = must(time.ParseDuration(v))
		case "mac_hold_down":
			cfg.FDB.HoldDown = must(time.ParseDuration(v))
		case "mac_table_size":
			cfg.TableSize = must(strconv.Atoi(v))
		case "mcast_snooping":
			cfg.Mcast.Snooping = must(strconv.ParseBool(v))
		case "mcast_unregistered":
			cfg.Mcast.Unregistered = vswitch.McastUnregistered(v)
		case "mcast_querier":
			cfg.Mcast.Querier.On = must(strconv.ParseBool(v))
			cfg.Address = own
		default:
			s.t.Fatalf("no setting %q of the switch", key)
		}
	}
	s.lab = newLab(s.t, cfg)
	s.doubles = make(map[string]*refusingPort)
	s.queries = cfg.Mcast.Querier.On
	return "", nil
}

func (s *scenario) attachPorts(d *datadriven.TestData) (string, error) {
	for _, words := range lines(d) {
		cfg := vswitch.DefaultPortConfig(words[0])
		s.change(&cfg, words[1:])
		cfg.Counters = new(vswitch.Counters)
		p := &refusingPort{room: -1}
		p.Counters = cfg.Counters
		a, err := s.s.Attach(cfg, p)
		if err != nil {
			return "", err
		}
		a.SetUp(true)
		s.doubles[cfg.Name] = p
		s.ports[cfg.Name] = &labPort{Attachment: a, Recorder: &p.Recorder, in: a.NewInlet(), counters: cfg.Counters}
	}
	return "", nil
}

func (s *scenario) set(d *datadriven.TestData) (string, error) {
	for _, words := range lines(d) {
		p := s.port(words[0])
		cfg := p.Config()
		s.change(&cfg, words[1:])
		if err := p.Reconfigure(cfg); err != nil {
			return "", err
		}
		if cfg.Name != words[0] {
			s.ports[cfg.Name], s.doubles[cfg.Name] = p, s.doubles[words[0]]
			delete(s.ports, words[0])
			delete(s.doubles, words[0])
		}
	}
	return "", nil
}

// change changes settings of a port. They have the same names as in vswitchd's configuration file.
func (s *scenario) change(cfg *vswitch.PortConfig, settings []string) {
	for _, w := range settings {
		key, v, _ := strings.Cut(w, "=")
		switch key {
		case "name":
			cfg.Name = v
		case "learning":
			cfg.Learning = must(strconv.ParseBool(v))
		case "flood":
			cfg.Flood = must(strconv.ParseBool(v))
		case "mcast_flood":
			cfg.McastFlood = must(strconv.ParseBool(v))
		case "bcast_flood":
			cfg.BcastFlood = must(strconv.ParseBool(v))
		case "mcast_router":
			cfg.McastRouter = vswitch.McastRouter(v)
		case "mcast_fast_leave":
			cfg.McastFastLeave = must(strconv.ParseBool(v))
		case "isolated":
			cfg.Isolated = must(strconv.ParseBool(v))
		case "neigh_suppress":
			cfg.NeighSuppress = must(strconv.ParseBool(v))
		case "community":
			cfg.Community = v
		case "hairpin":
			cfg.Hairpin = must(strconv.ParseBool(v))
		case "loop_detection":
			cfg.LoopDetection = must(strconv.ParseBool(v))
		case "role":
			cfg.Role = map[string]vswitch.PortRole{"guest": vswitch.RoleGuest, "host": vswitch.RoleHost, "uplink": vswitch.RoleUplink}[v]
		case "group_fwd_mask":
			cfg.GroupFwdMask = uint16(must(strconv.ParseUint(v, 0, 16)))
		case "max_macs":
			cfg.MaxMACs = must(strconv.Atoi(v))
		case "ingress_policing_rate":
			cfg.IngressPolicingRate = scaled(v)
		case "ingress_policing_burst":
			cfg.IngressPolicingBurst = scaled(v)
		case "ingress_policing_pps":
			cfg.IngressPolicingPPS = must(strconv.Atoi(v))
		case "egress_rate":
			cfg.EgressRate = scaled(v)
		case "egress_burst":
			cfg.EgressBurst = scaled(v)
		case "storm_control_pps":
			cfg.StormControlPPS = must(strconv.Atoi(v))
		case "storm_control_bcast_pps":
			cfg.StormControlBcastPPS = must(strconv.Atoi(v))
		case "storm_control_mcast_pps":
			cfg.StormControlMcastPPS = must(strconv.Atoi(v))
		case "storm_control_unknown_pps":
			cfg.StormControlUnknownPPS = must(strconv.Atoi(v))
		case "mac":
			cfg.MACs = s.addresses(v)
		case "allowed_macs":
			cfg.Guards.AllowedMACs = s.addresses(v)
		case "allowed_ips":
			cfg.Guards.AllowedIPs = s.prefixes(v)
		case "allowed_link_local":
			cfg.Guards.EUI64LinkLocal = v == "eui64"
		case "dhcp_guard":
			cfg.Guards.DHCP = must(strconv.ParseBool(v))
		case "ra_guard":
			cfg.Guards.RA = must(strconv.ParseBool(v))
		case "locked":
			cfg.Guards.Locked = must(strconv.ParseBool(v))
		case "bpdu_guard":
			cfg.Guards.BPDU = must(strconv.ParseBool(v))
		case "ingress_filter":
			cfg.IngressFilter = v
		case "egress_filter":
			cfg.EgressFilter = v
		case "tag":
			cfg.Tag = uint16(must(strconv.ParseUint(v, 10, 16)))
		case "trunks":
			cfg.Trunks = numbers(v)
		case "vlan_mode":
			cfg.VLANMode = must(vswitch.ParseVLANMode(v))
		case "cvlans":
			cfg.CVLANs = numbers(v)
		case "qinq_ethtype":
			cfg.QinQ = vswitch.QinQ(v)
		case "priority":
			cfg.Priority = must(strconv.Atoi(v))
		case "priority_override":
			cfg.PriorityOverride = must(strconv.ParseBool(v))
		case "priority_tags":
			cfg.PriorityTags = vswitch.PriorityTags(v)
		default:
			s.t.Fatalf("no setting %q of a port", key)
		}
	}
}

// scaled reads a number with a suffix K, M or G.
func scaled(s string) uint64 {
	s = strings.NewReplacer("K", "e3", "M", "e6", "G", "e9").Replace(s)
	return uint64(must(strconv.ParseFloat(s, 64)))
}

// numbers reads a list of VLANs; an empty one is none.
func numbers(list string) (vlans []uint16) {
	for vlan := range strings.SplitSeq(list, ",") {
		if vlan != "" {
			vlans = append(vlans, uint16(must(strconv.ParseUint(vlan, 10, 16))))
		}
	}
	return vlans
}

// addresses reads a list of addresses; an empty one is none.
func (s *scenario) addresses(list string) (macs []vswitch.MAC) {
	for m := range strings.SplitSeq(list, ",") {
		if m != "" {
			macs = append(macs, address(m))
		}
	}
	return macs
}

// prefixes reads a list of IP addresses and prefixes; an empty one is none.
func (s *scenario) prefixes(list string) (ps []netip.Prefix) {
	for p := range strings.SplitSeq(list, ",") {
		switch {
		case p == "":
		case strings.Contains(p, "/"):
			ps = append(ps, must(netip.ParsePrefix(p)))
		default:
			a := must(netip.ParseAddr(p))
			ps = append(ps, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return ps
}

func (s *scenario) detach(d *datadriven.TestData) (string, error) {
	for _, name := range args(d) {
		s.port(name).Detach() // frames may still be sent from it
	}
	return "", nil
}

func (s *scenario) setUp(d *datadriven.TestData) (string, error) {
	for _, name := range args(d) {
		s.port(name).SetUp(d.Cmd == "up")
	}
	return "", nil
}

func (s *scenario) takes(d *datadriven.TestData) (string, error) {
	for _, words := range lines(d) {
		p, caps := s.port(words[0]), vswitch.Caps{}
		double := s.doubles[words[0]]
		double.room, double.refuses = -1, make(map[int]vswitch.DropReason)
		for _, w := range words[1:] {
			switch key, v, _ := strings.Cut(w, "="); key {
			case "csum":
				caps.Csum = true
			case "mtu":
				caps.MTU = must(strconv.Atoi(v))
			case "room":
				double.room = must(strconv.Atoi(v))
			case "refuses":
				s.refuses(double, v)
			default:
				s.t.Fatalf("nothing that a port takes is called %q", key)
			}
		}
		p.SetCaps(caps)
	}
	return "", nil
}

// refuses reads places in each Transmit, and the reasons for which a port refuses the frames there.
func (s *scenario) refuses(p *refusingPort, list string) {
	for item := range strings.SplitSeq(list, ",") {
		place, reason, _ := strings.Cut(item, ":")
		why := slices.Index(vswitch.DropReasons(), reason)
		if why < 0 {
			s.t.Fatalf("no reason %q", reason)
		}
		p.refuses[must(strconv.Atoi(place))] = vswitch.DropReason(why)
	}
}

func (s *scenario) local(d *datadriven.TestData) (string, error) {
	words := args(d)
	var own, others []vswitch.MAC
	for _, w := range words[1:] {
		switch key, v, _ := strings.Cut(w, "="); key {
		case "own":
			own = s.addresses(v)
		case "others":
			others = s.addresses(v)
		default:
			s.t.Fatalf("no local addresses are called %q", key)
		}
	}
	return "", s.port(words[0]).SetLocal(own, others)
}

func (s *scenario) advanceClock(d *datadriven.TestData) (string, error) {
	s.advance(must(time.ParseDuration(args(d)[0])))
	if s.queries {
		s.taken()
	}
	return "", nil
}

// vlanOf returns the number that follows the word "vlan", or other if there is none.
func vlanOf(words []string, other int) int {
	if i := slices.Index(words, "vlan"); i >= 0 {
		return must(strconv.Atoi(words[i+1]))
	}
	return other
}

func (s *scenario) static(d *datadriven.TestData) (string, error) {
	for _, e := range entries(d) {
		if err := s.s.AddFDB(e); err != nil {
			return "", err
		}
	}
	return "", nil
}

// entries reads lines such as: ADDRESS at PORT [vlan N] [KIND].
func entries(d *datadriven.TestData) (list []vswitch.StaticEntry) {
	for _, words := range lines(d) {
		vlan := vlanOf(words, 0)
		e := vswitch.StaticEntry{MAC: address(words[0]), VLAN: uint16(vlan)}
		for _, k := range []vswitch.FDBKind{vswitch.FDBDynamic, vswitch.FDBSticky, vswitch.FDBBlackhole} {
			if slices.Contains(words, k.String()) {
				e.Kind = k
			}
		}
		if words[1] == "at" {
			e.Port = words[2]
		}
		e.All = e.Kind == vswitch.FDBBlackhole && !slices.Contains(words, "vlan")
		list = append(list, e)
	}
	return list
}

// file makes the entries those of the configuration file, as a reload does.
func (s *scenario) file(d *datadriven.TestData) (string, error) {
	_, err := s.s.Apply(&vswitch.Change{Static: entries(d)})
	return "", err
}

// times changes the times of the FDB, as a reload does.
func (s *scenario) times(d *datadriven.TestData) (string, error) {
	var cfg vswitch.FDBConfig
	for _, w := range args(d) {
		switch key, v, _ := strings.Cut(w, "="); key {
		case "mac_aging_time":
			cfg.AgingTime = must(time.ParseDuration(v))
		case "mac_hold_down":
			cfg.HoldDown = must(time.ParseDuration(v))
		default:
			s.t.Fatalf("no time is called %q", key)
		}
	}
	_, err := s.s.Apply(&vswitch.Change{KeepStatic: true, FDB: &cfg})
	return "", err
}

func (s *scenario) delete(d *datadriven.TestData) (string, error) {
	words := args(d)
	vlan := vlanOf(words, 0)
	if slices.Contains(words, "any") {
		vlan = vswitch.AnyVLAN
	}
	return "", s.s.DelFDB(address(words[0]), vlan)
}

func (s *scenario) flush(d *datadriven.TestData) (string, error) {
	words := args(d)
	f := vswitch.FDBFilter{VLAN: vlanOf(words, vswitch.AnyVLAN)}
	for i := 0; i < len(words); i++ {
		k, err := vswitch.ParseFDBKind(words[i])
		switch {
		case words[i] == "vlan":
			i++
		case err == nil:
			f.Kind = append(f.Kind, k)
		default:
			f.Port = words[i]
		}
	}
	n, err := s.s.Flush(f)
	return fmt.Sprintf("%d removed\n", n), err
}

func (s *scenario) setMirrors(d *datadriven.TestData) (string, error) {
	c := vswitch.Change{KeepStatic: true, SetMirrors: true}
	for _, words := range lines(d) {
		m := vswitch.MirrorConfig{Name: words[0]}
		for _, w := range words[1:] {
			switch key, v, _ := strings.Cut(w, "="); key {
			case "select_all":
				m.SelectAll = must(strconv.ParseBool(v))
			case "select_src":
				m.SelectSrc = strings.Split(v, ",")
			case "select_dst":
				m.SelectDst = strings.Split(v, ",")
			case "select_vlan":
				m.SelectVLAN = numbers(v)
			case "filter":
				m.Filter = v
			case "output":
				m.Output = v
			case "output_vlan":
				m.OutputVLAN = uint16(must(strconv.ParseUint(v, 10, 16)))
			case "snaplen":
				m.Snaplen = must(strconv.Atoi(v))
			default:
				s.t.Fatalf("no setting %q of a mirror", key)
			}
		}
		c.Mirrors = append(c.Mirrors, m)
	}
	_, err := s.s.Apply(&c)
	return "", err
}

func (s *scenario) mirrorCounts(*datadriven.TestData) (string, error) {
	var out strings.Builder
	for _, m := range s.s.Mirrors() {
		c := m.Counters
		fmt.Fprintf(&out, "%s: frames %d, bytes %d, drops %d\n", m.Config.Name, c.Frames.Load(), c.Bytes.Load(), c.Drops.Load())
	}
	return out.String(), nil
}

func (s *scenario) fdb(*datadriven.TestData) (string, error) {
	var out strings.Builder
	for _, e := range s.s.FDB("", vswitch.AnyVLAN) {
		fmt.Fprint(&out, short(e.MAC))
		switch {
		case e.All:
			fmt.Fprint(&out, " in every VLAN")
		case e.VLAN != 0:
			fmt.Fprintf(&out, " vlan %d", e.VLAN)
		}
		if e.Port != "" {
			fmt.Fprint(&out, " at ", e.Port)
		}
		switch {
		case e.Pinned:
			fmt.Fprint(&out, ", pinned")
		case e.Kind != vswitch.FDBDynamic:
			fmt.Fprint(&out, ", ", e.Kind)
		}
		if e.Kind == vswitch.FDBDynamic || e.Kind == vswitch.FDBSticky {
			fmt.Fprintf(&out, ", %d s ago", e.Age/time.Second)
		}
		fmt.Fprintln(&out)
	}
	if out.Len() == 0 {
		return "empty\n", nil
	}
	return out.String(), nil
}

// conflicts lists what the log would warn of, since the last call.
func (s *scenario) conflicts(*datadriven.TestData) (string, error) {
	kinds := map[vswitch.ConflictKind]string{
		vswitch.ConflictFlap: "flaps", vswitch.ConflictClaim: "claims", vswitch.ConflictHeld: "is held", vswitch.ConflictLimit: "is over the limit",
	}
	var out strings.Builder
	for _, c := range s.s.Conflicts() {
		fmt.Fprintf(&out, "%s: %s %s", c.Port, short(c.MAC), kinds[c.Kind])
		if c.Other != "" {
			fmt.Fprintf(&out, ", also at %s", c.Other)
		}
		fmt.Fprintf(&out, ", %d\n", c.Count)
	}
	if out.Len() == 0 {
		return "none\n", nil
	}
	return out.String(), nil
}

// counts lists the counters of each port that are not zero.
func (s *scenario) counts(of func(*labPort) map[string]uint64) string {
	var out strings.Builder
	names := make([]string, 0, len(s.ports))
	for name := range s.ports {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		m := of(s.ports[name])
		var list []string
		for what, n := range m {
			if n > 0 {
				list = append(list, fmt.Sprintf("%s %d", what, n))
			}
		}
		if len(list) > 0 {
			slices.SortFunc(list, cmp.Compare[string])
			fmt.Fprintf(&out, "%s: %s\n", name, strings.Join(list, ", "))
		}
	}
	if out.Len() == 0 {
		return "none\n"
	}
	return out.String()
}

func (s *scenario) dropCounts(*datadriven.TestData) (string, error) {
	return s.counts(func(p *labPort) map[string]uint64 { return p.counters.DropsByName() }), nil
}

func (s *scenario) eventCounts(*datadriven.TestData) (string, error) {
	return s.counts(func(p *labPort) map[string]uint64 { return p.counters.FDB().ByName() }), nil
}
