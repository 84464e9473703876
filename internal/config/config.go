package config

import (
	"slices"
	"time"

	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// Config is a checked configuration: whoever holds one need not check a value
// again. It is not changed once it has been returned.
type Config struct {
	Log     Log
	Control Control
	Switch  Switch
	Ports   []*Port    // of the first of Kinds, then of the next; within a kind as in the file, then as in the flags
	FDB     []FDBEntry // static entries, in the order of the file

	// Warnings are things that the operator should hear of though they are
	// no errors. Check finds more of them than Load.
	Warnings Errors
}

// Log is what to log and how.
type Log struct {
	Level  string // one of logLevels
	Format string // one of logFormats

	where where
}

// JSON reports whether the log is one JSON object per line instead of text.
func (l *Log) JSON() bool { return l.Format == "json" }

// Control is where the control API is served.
type Control struct {
	Socket  string // path of the unix socket, at most key.MaxSocketPath bytes; "": no control API
	Access  Access
	Metrics string // host:port to serve Prometheus metrics on; "": nowhere

	where where
}

// Switch is what holds for the switch as a whole.
type Switch struct {
	MACAging    time.Duration // a dynamic FDB entry not seen for this long is forgotten
	MACTable    int           // most FDB entries
	Workers     int           // data-plane threads
	CPUs        []int         // worker i is pinned to CPUs[i]; empty: none is pinned
	Poll        Poll
	SocketDir   string // where ports' sockets are made by default
	PortSockets Access // of ports' sockets, by default

	McastSnooping     bool
	McastUnregistered vswitch.McastUnregistered

	where where
}

// Mcast returns what the switch is told about multicast.
func (s *Switch) Mcast() vswitch.McastConfig {
	return vswitch.McastConfig{Snooping: s.McastSnooping, Unregistered: s.McastUnregistered}
}

// Port is one port.
type Port struct {
	Kind *Kind

	// PortConfig is what the switch is told. Its Counters are nil, its VLANMode is not
	// VLANDefault.
	vswitch.PortConfig

	// Settings are those of the kind.
	Settings

	Description string // for people

	where where
}

// A Kind is a kind of port, such as a guest's: of what its tables in the file are called, and which
// keys they have.
type Kind struct {
	Name    string // as in the control API
	Table   string // [Table.NAME]
	Doc     string // for docs/configuration.md: one sentence
	Example string // a name of a port, for a sample
	Says    string // what ports of the kind are, said where one is given a key of another kind: "a port has a socket"

	// New returns the settings of a port that says nothing.
	New func(name string, sw *Switch) Settings

	// LookAtHost returns warnings of what is not there now and may come later; nil: there are none.
	LookAtHost func(ports []*Port) Errors
}

// Settings are what a port is set to as one of its kind: a pointer to a struct.
type Settings interface {
	// Keys returns the keys of the kind, bound to these settings and to the port's.
	Keys(p *vswitch.PortConfig) []key.Key

	// Place is what the port leads to.
	Place() Place
}

// A Place is what a port leads to, and no other port does: a socket, an interface. Two ports at one
// place, of two configurations, are the same port, whatever their names.
type Place struct {
	Key  string // that says so
	Is   string // such as "socket"
	Name string // as it is configured; "": nothing, which has been reported
	ID   string // of all names of one place the same
}

// String is the same for all names of one place.
func (p Place) String() string { return p.Is + " " + p.ID }

// An FDBEntry is a static entry of the FDB. Where the file does not name a VLAN, it is that of the
// port's untagged frames. Port is the name of a port that exists.
type FDBEntry struct {
	vswitch.StaticEntry

	where where
}

// DefaultFile is what vswitchd reads when it is not told what to read.
const DefaultFile = "/etc/vswitchd/vswitchd.toml"

// At returns where a key of [control] was set, or where that table begins; see Port.At.
func (c *Control) At(key string) Pos { return c.where.at(key) }

// At returns where a key of [switch] was set, or where that table begins; see Port.At.
func (s *Switch) At(key string) Pos { return s.where.at(key) }

// At returns where the file or the flags set a key of this port, or where the
// port itself begins.
func (p *Port) At(key string) Pos { return p.where.at(key) }

// Errorf returns an error about a key of the port; "": about the port itself.
func (p *Port) Errorf(key, format string, args ...any) Error {
	return p.where.errorf(key, format, args...)
}

// Path names the port as the configuration does, such as port.vm1.
func (p *Port) Path() string { return p.where.path }

// Errorf returns an error about a key of this entry; "": about the entry itself.
func (e *FDBEntry) Errorf(key, format string, args ...any) Error {
	return e.where.errorf(key, format, args...)
}

// newPort returns a port that says nothing.
func newPort(kind *Kind, name string, sw *Switch) *Port {
	return &Port{Kind: kind, PortConfig: vswitch.DefaultPortConfig(name), Settings: kind.New(name, sw)}
}

// Keys returns all keys of the port, bound to it.
func (p *Port) Keys() []key.Key {
	return append(p.Settings.Keys(&p.PortConfig), p.portKeys()...)
}

// portKeys are those of ports of all kinds.
func (p *Port) portKeys() []key.Key {
	keys := []key.Key{{Name: "description", Value: key.Printable(&p.Description, 255), Doc: "what the port is for; `vswitchctl port show` shows it"}}
	return slices.Concat(keys, vlanKeys(&p.PortConfig), policyKeys(&p.PortConfig))
}

// Policies returns the keys that say how the switch treats the port, in any VLAN.
func (p *Port) Policies() []key.Key { return policyKeys(&p.PortConfig) }

// Differing returns the keys that have other values than those of a port of the same kind.
func (p *Port) Differing(was *Port) []key.Key { return key.Differing(p.Keys(), was.Keys()) }

// A Setting is a key of a configuration, and where it was set.
type Setting struct {
	Pos Pos
	Key string // such as control.socket
}

// String returns "file:line: key".
func (s Setting) String() string { return s.Pos.String() + ": " + s.Key }

// NeedRestart returns the settings that differ from those of an earlier configuration and that are
// read at start alone.
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

// A boundTable is a table that there is once, with its keys.
type boundTable struct {
	name  string
	doc   string
	where *where
	keys  []key.Key
}

func (c *Config) tables() []boundTable {
	return []boundTable{
		{"log", "What is logged, on standard error, and how.", &c.Log.where, c.Log.keys()},
		{"control", "Where the [control API](control-api.md) is served, and metrics.", &c.Control.where, c.Control.keys()},
		{"switch", "The switch as a whole.", &c.Switch.where, c.Switch.keys()},
	}
}
