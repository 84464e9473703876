package config

import (
	"io/fs"
	"net"
	"slices"
	"time"
)

// Config is a checked configuration: whoever holds one need not check a value
// again. It is not changed once Load or Parse has returned it.
type Config struct {
	Log     Log
	Control Control
	Switch  Switch
	Uplinks []Uplink   // in the order of the file, then of the flags
	Ports   []Port     // guests' ports, likewise
	FDB     []FDBEntry // static entries, in the order of the file

	// Warnings are things that the operator should hear of though they are
	// no errors. Check finds more of them than Load.
	Warnings Errors
}

// Log is what to log and how.
type Log struct {
	Level string // "trace", "debug", "info", "warn" or "error"
	JSON  bool   // one JSON object per line instead of text
}

// Control is where the control API is served.
type Control struct {
	Socket  string // path of the unix socket, at most MaxSocketPath bytes; "": no control API
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

	where where
}

// Poll is how long a worker without work polls before it sleeps.
type Poll struct {
	Always bool          // it never sleeps; For is 0
	For    time.Duration // 0: it sleeps at once
}

// Access is who may open a socket file.
type Access struct {
	UID, GID int         // -1: as the process has it
	Mode     fs.FileMode // permission bits only
}

// Mode is which side of a port's socket vswitchd is.
type Mode string

// Values of Port.Mode.
const (
	ModeServer Mode = "server" // vswitchd listens
	ModeClient Mode = "client" // vswitchd connects, and tries again for ever
)

// Offload is a kind of work that guests and the switch can leave to each other: each
// stands for the virtio-net features that it takes in both directions.
type Offload string

// Values of Port.Offloads. All the others need OffloadCsum.
const (
	OffloadCsum Offload = "csum" // checksums of TCP and UDP
	OffloadTSO  Offload = "tso"  // segmentation of TCP, over IPv4 and IPv6, with ECN
	OffloadUFO  Offload = "ufo"  // fragmentation of UDP datagrams
	OffloadUSO  Offload = "uso"  // segmentation of UDP: many datagrams as one frame
)

// allOffloads are what a port offers for which the file says nothing.
var allOffloads = []Offload{OffloadCsum, OffloadTSO, OffloadUFO, OffloadUSO}

// VLANMode is how a port treats VLAN tags, with Open vSwitch's meanings; see
// ovs-vswitchd.conf.db(5), "VLAN Configuration".
type VLANMode string

// Values of Bridging.VLANMode. Where the file leaves it empty it is access for
// a port with a tag and trunk for one without.
const (
	VLANAccess         VLANMode = "access"
	VLANTrunk          VLANMode = "trunk"
	VLANNativeTagged   VLANMode = "native-tagged"
	VLANNativeUntagged VLANMode = "native-untagged"
)

// Bridging is how the switch treats a port of either kind.
type Bridging struct {
	VLANMode VLANMode // never empty
	Tag      uint16   // VLAN of untagged frames, 0 to 4095; 0: none
	Trunks   []uint16 // VLANs that a trunk carries; empty: all. The tag of a native mode belongs to them unsaid.

	Learning   bool   // learn source addresses
	Flood      bool   // send unknown unicast to this port
	McastFlood bool   // send multicast to this port
	BcastFlood bool   // send broadcast to this port
	Isolated   bool   // nothing passes between isolated ports
	Hairpin    bool   // frames may leave by the port they came in by
	GroupFwd   uint16 // reserved addresses 01:80:C2:00:00:0N that frames may be sent to: bit N
	MaxMACs    int    // most dynamic FDB entries of this port; 0: no limit but the table's
}

// carries reports whether the port is in a VLAN.
func (b *Bridging) carries(vlan uint16) bool {
	switch b.VLANMode {
	case VLANAccess:
		return vlan == b.Tag
	case VLANNativeTagged, VLANNativeUntagged:
		return len(b.Trunks) == 0 || vlan == b.Tag || slices.Contains(b.Trunks, vlan)
	}
	return len(b.Trunks) == 0 || slices.Contains(b.Trunks, vlan)
}

// Port is a guest's port.
type Port struct {
	Name   string // 1 to 15 characters; no other port or uplink has it
	Mode   Mode
	Socket string           // path, at most MaxSocketPath bytes; "" where FD is set
	FD     int              // an inherited socket, connected or listening, to use instead of Socket; 0: none
	Access Access           // of Socket, in server mode
	Queues int              // most queue pairs offered, 1 to 128
	MTU    int              // the largest that the guest may be told, in bytes; 0: it is told none
	MAC    net.HardwareAddr // the guest's address, pinned to this port; nil: not known

	// MaxMemory is how many bytes of address space the front-end's memory may take: guest
	// memory, the log of dirty pages and the record of descriptors in flight.
	MaxMemory uint64

	// DiskMemory allows memory that is a file on a disk, which workers may have to wait for.
	DiskMemory bool

	// Offloads are offered to the guest, in the order of the constants below; empty: none. A
	// front-end keeps those that it was offered when it connected.
	Offloads []Offload
	Bridging

	where where
}

// Uplink is a port on a network interface of the host.
type Uplink struct {
	Name        string // as Port.Name
	Interface   string // no other uplink has it
	Promiscuous bool
	Bridging

	where where
}

// FDBEntry is a static entry of the FDB.
type FDBEntry struct {
	MAC  net.HardwareAddr
	VLAN uint16 // where the file does not name one, that of the port's untagged frames
	Port string // the name of a port or an uplink that exists

	where where
}

// MaxSocketPath is the longest path of a unix socket in bytes: sun_path of
// unix(7) has 108, one of them for the final NUL.
const MaxSocketPath = 107

// DefaultFile is what vswitchd reads when it is not told what to read.
const DefaultFile = "/etc/vswitchd/vswitchd.toml"

// defaults returns a configuration without ports.
func defaults() *Config {
	access := Access{UID: -1, GID: -1, Mode: 0o660}
	return &Config{
		Log:     Log{Level: "info"},
		Control: Control{Socket: "/run/vswitchd/control.sock", Access: access},
		Switch: Switch{
			MACAging:    300 * time.Second,
			MACTable:    8192,
			Workers:     1,
			Poll:        Poll{For: 50 * time.Microsecond},
			SocketDir:   "/run/vswitchd",
			PortSockets: access,
		},
	}
}

// defaultBridging returns what a port does when nothing is said about it,
// but for VLANMode, which depends on Tag.
func defaultBridging() Bridging {
	return Bridging{Learning: true, Flood: true, McastFlood: true, BcastFlood: true}
}

// At returns where a key of [control] was set, or where that table begins; see Port.At.
func (c *Control) At(key string) Pos { return c.where.at(key) }

// At returns where a key of [switch] was set, or where that table begins; see Port.At.
func (s *Switch) At(key string) Pos { return s.where.at(key) }

// At returns where the file or the flags set a key of this port, or where the
// port itself begins.
func (p *Port) At(key string) Pos { return p.where.at(key) }

// At returns where a key of this uplink was set; see Port.At.
func (u *Uplink) At(key string) Pos { return u.where.at(key) }

// At returns where a key of this entry was set; see Port.At.
func (e *FDBEntry) At(key string) Pos { return e.where.at(key) }

// Equal reports whether two ports are configured alike. Where in the file they
// stand does not matter.
func (p *Port) Equal(q *Port) bool {
	return p.Name == q.Name && p.Mode == q.Mode && p.Socket == q.Socket && p.FD == q.FD &&
		p.Access == q.Access && p.Queues == q.Queues && p.MTU == q.MTU && slices.Equal(p.MAC, q.MAC) &&
		p.MaxMemory == q.MaxMemory && p.DiskMemory == q.DiskMemory && slices.Equal(p.Offloads, q.Offloads) &&
		p.Bridging.Equal(&q.Bridging)
}

// Equal reports whether two uplinks are configured alike; see Port.Equal.
func (u *Uplink) Equal(v *Uplink) bool {
	return u.Name == v.Name && u.Interface == v.Interface && u.Promiscuous == v.Promiscuous &&
		u.Bridging.Equal(&v.Bridging)
}

// Equal reports whether two ports are bridged alike.
func (b *Bridging) Equal(c *Bridging) bool {
	return b.VLANMode == c.VLANMode && b.Tag == c.Tag && slices.Equal(b.Trunks, c.Trunks) &&
		b.Learning == c.Learning && b.Flood == c.Flood && b.McastFlood == c.McastFlood &&
		b.BcastFlood == c.BcastFlood && b.Isolated == c.Isolated && b.Hairpin == c.Hairpin &&
		b.GroupFwd == c.GroupFwd && b.MaxMACs == c.MaxMACs
}
