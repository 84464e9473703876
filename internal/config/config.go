package config

import (
	"slices"
	"time"

	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// Config is a checked configuration: its users need not check a value again. It is not modified
// after it has been returned.
type Config struct {
	Log     Log
	Control Control
	Switch  Switch
	Sandbox Sandbox
	Ports   []*Port    // ordered by Kinds; within a kind, those of the file first, then those of the flags
	FDB     []FDBEntry // static entries, in the order of the file
	MDB     []MDBEntry // static members of multicast groups, in the order of the file
	Mirrors []*Mirror  // in the order of the file
	Filters []*Filter  // likewise
	Sets    []*Set     // likewise

	Neighbors []Neighbor // in the order of the file

	// Warnings are conditions that the operator should know but that are not errors. Examine finds
	// more of them than Load.
	Warnings Errors
}

// Log configures the log.
type Log struct {
	Level  string // one of logLevels
	Format string // one of logFormats

	where where
}

// JSON reports whether the log is one JSON object per line instead of text.
func (l *Log) JSON() bool { return l.Format == "json" }

// Control configures the addresses of the control API, of the metrics and of the status page.
type Control struct {
	Socket  string // path of the unix socket, at most key.MaxSocketPath bytes; "": no control API
	Access  Access
	Metrics string // host:port to serve Prometheus metrics on; "": nowhere
	Status  string // host:port to serve the status page on; "": nowhere

	StatusHosts []string // names by which browsers may ask for the status page

	where where
}

// Switch configures the switch as a whole.
type Switch struct {
	MACAging    time.Duration // a dynamic FDB entry not seen for this long is forgotten
	MACTable    int           // most FDB entries
	HoldDown    time.Duration // how long an address that moves too often stays where it is; 0: it moves
	Workers     int           // data-plane threads
	CPUs        []int         // worker i is pinned to CPUs[i]; empty: none is pinned
	Poll        Poll
	Latency     time.Duration // with Poll.Adaptive: how long frames may wait
	SocketDir   string        // default directory of ports' sockets
	PortSockets Access        // default access to ports' sockets

	McastSnooping     bool
	McastUnregistered vswitch.McastUnregistered
	McastQuerier      vswitch.QuerierConfig

	LoopDetection bool
	LoopBlockTime time.Duration // how long a port of a loop is blocked

	where where
}

// Times returns the switch's configuration of the FDB.
func (s *Switch) Times() vswitch.FDBConfig {
	return vswitch.FDBConfig{AgingTime: s.MACAging, HoldDown: s.HoldDown}
}

// Loop returns the switch's configuration of loop detection.
func (s *Switch) Loop() vswitch.LoopConfig {
	return vswitch.LoopConfig{Detect: s.LoopDetection, BlockTime: s.LoopBlockTime}
}

// Mcast returns the switch's configuration for multicast.
func (s *Switch) Mcast() vswitch.McastConfig {
	return vswitch.McastConfig{Snooping: s.McastSnooping, Unregistered: s.McastUnregistered, Querier: s.McastQuerier}
}

// Port is one port.
type Port struct {
	Kind *Kind

	// PortConfig is the configuration for the switch. Its Counters are nil, and its VLANMode is not
	// VLANDefault.
	vswitch.PortConfig

	// Settings are the settings that only ports of this kind have.
	Settings

	Description string // free text for the operator

	where where
}

// A Kind declares a kind of port, such as that of guests: the name of its tables in the file, and
// their keys.
type Kind struct {
	Name    string // as in the control API
	Table   string // [Table.NAME]
	Doc     string // for docs/configuration.md: one sentence
	Example string // name of the port in the sample
	Says    string // description of the kind for error messages about keys of other kinds: "a port has a socket"

	Role vswitch.PortRole

	// New returns the default settings of a port.
	New func(name string, sw *Switch) Settings

	// LookAtHost returns warnings about host resources that are missing now and may appear later.
	// If it is nil, there is nothing to check.
	LookAtHost func(ports []*Port) Errors
}

// Settings are the settings of a port that are specific to its kind. The implementation is a
// pointer to a struct.
type Settings interface {
	// Keys returns the keys of the kind, bound to these settings and to the port's.
	Keys(p *vswitch.PortConfig) []key.Key

	// Place returns the socket or interface of the port.
	Place() Place
}

// A Place identifies the socket or interface of a port. No two ports of a configuration have the
// same Place. Two ports of successive configurations with the same Place are the same port, even if
// their names differ.
type Place struct {
	Key  string // the key that configures the place
	Is   string // the type of the place, such as "socket"
	Name string // as configured; "": missing, which has been reported
	ID   string // canonical form of Name
}

// String returns the same string for all names of one place.
func (p Place) String() string { return p.Is + " " + p.ID }

// An FDBEntry is an entry of the FDB. If the file does not name a VLAN, VLAN is that of the port's
// untagged frames, and a blackhole is in every VLAN. Port is the name of a port of the same
// configuration, or "" for a blackhole.
type FDBEntry struct {
	vswitch.StaticEntry

	blackhole, sticky bool // as in the file
	where             where
}

// DefaultFile is the configuration file that vswitchd reads if --config is not given.
const DefaultFile = "/etc/vswitchd/vswitchd.toml"

// At returns the position of a key of [control], or that of the table if the key was not set; see
// Port.At.
func (c *Control) At(key string) Pos { return c.where.at(key) }

// At returns the position of a key of [switch], or that of the table if the key was not set; see
// Port.At.
func (s *Switch) At(key string) Pos { return s.where.at(key) }

// At returns the position at which the file or the flags set a key of this port, or the position of
// the port itself if the key was not set.
func (p *Port) At(key string) Pos { return p.where.at(key) }

// Errorf returns an error about a key of the port, or about the port itself if key is empty.
func (p *Port) Errorf(key, format string, args ...any) Error {
	return p.where.errorf(key, format, args...)
}

// Path returns the path of the port's table, such as port.vm1.
func (p *Port) Path() string { return p.where.path }

// Errorf returns an error about a key of this entry, or about the entry itself if key is empty.
func (e *FDBEntry) Errorf(key, format string, args ...any) Error {
	return e.where.errorf(key, format, args...)
}

// newPort returns a port with default settings.
func newPort(kind *Kind, name string, sw *Switch) *Port {
	p := &Port{Kind: kind, PortConfig: vswitch.DefaultPortConfig(name), Settings: kind.New(name, sw)}
	p.Role, p.Announce = kind.Role, kind.Role == vswitch.RoleUplink
	return p
}

// Keys returns all keys of the port, bound to it.
func (p *Port) Keys() []key.Key {
	return append(p.Settings.Keys(&p.PortConfig), p.portKeys()...)
}

// portKeys returns the keys that ports of all kinds have.
func (p *Port) portKeys() []key.Key {
	keys := []key.Key{{Name: "description", Value: key.Printable(&p.Description, 255), Doc: "what the port is for; `vswitchctl port show` shows it"}}
	return slices.Concat(keys, vlanKeys(&p.PortConfig), policyKeys(&p.PortConfig))
}

// Policies returns the keys that determine how the switch handles the port in every VLAN.
func (p *Port) Policies() []key.Key { return policyKeys(&p.PortConfig) }

// Differing returns the keys whose values differ from those of was, a port of the same kind.
func (p *Port) Differing(was *Port) []key.Key { return key.Differing(p.Keys(), was.Keys()) }

// A Setting is a key of a configuration and the position at which it was set.
type Setting struct {
	Pos Pos
	Key string // such as control.socket
}

// String returns "file:line: key".
func (s Setting) String() string { return s.Pos.String() + ": " + s.Key }

// NeedRestart returns the settings that are read only at start and differ from those of an earlier
// configuration.
func (c *Config) NeedRestart(was *Config) (list []Setting) {
	for i, t := range c.tables() {
		for _, k := range key.Differing(t.keys, was.tables()[i].keys) {
			if k.Live == key.Restart {
				list = append(list, Setting{t.where.at(k.Name), t.name + "." + k.Name})
			}
		}
	}
	return list
}

// A boundTable is a table that occurs once, with its keys.
type boundTable struct {
	name  string
	doc   string
	where *where
	keys  []key.Key
}

func (c *Config) tables() []boundTable {
	return []boundTable{
		{"log", "What is logged, on standard error, and how.", &c.Log.where, c.Log.keys()},
		{"control", "Where the [control API](control-api.md), [metrics](metrics.md) and the [status page](status-page.md) are served.", &c.Control.where, c.Control.keys()},
		{"switch", "The switch as a whole.", &c.Switch.where, c.Switch.keys()},
		{"sandbox", "What vswitchd can do once it has started. See [security](security.md#the-sandbox).", &c.Sandbox.where, c.Sandbox.keys()},
	}
}
