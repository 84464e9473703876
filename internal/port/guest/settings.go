package guest

import (
	"fmt"
	"path/filepath"
	"strconv"

	"vswitchd/internal/config"
	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
	"vswitchd/vhostuser/netport"
)

// Declaration declares the tables of guests' ports and their keys.
var Declaration = &config.Kind{
	Name:    "guest",
	Table:   "port",
	Example: "vm1",
	Doc:     "A port for a guest, whose front-end (QEMU) connects to the port's socket.",
	Says:    "a port has a socket",
	New:     func(name string, sw *config.Switch) config.Settings { return newSettings(name, sw) },
}

// Settings are the settings of a guest's port.
type Settings struct {
	Mode   Mode
	Socket string        // path; "" where FD is set
	FD     int           // an inherited socket, connected or listening, to use instead of Socket; 0: none
	Access config.Access // of Socket, in server mode
	Queues int           // most queue pairs offered
	MTU    int           // MTU offered to the guest (VIRTIO_NET_F_MTU), in bytes; 0: none is offered

	// QueueLen is the number of frames that are held for each receive queue of the guest while the
	// queue has no buffers; 0: none.
	QueueLen int

	// MaxMemory limits the address space, in bytes, that the front-end's memory may occupy: guest
	// memory, the dirty-page log and the record of in-flight descriptors.
	MaxMemory uint64

	// DiskMemory permits guest memory backed by a file on a disk. Accesses to such memory can make
	// workers wait for the disk.
	DiskMemory bool

	// Offloads are the offloads offered to the guest, as netport.Port.SetOffloads takes them. A
	// connected front-end keeps those that it was offered when it connected.
	Offloads uint64
}

// Mode is the role of vswitchd on a port's socket.
type Mode string

// Values of Settings.Mode.
const (
	ModeServer Mode = "server" // vswitchd listens
	ModeClient Mode = "client" // vswitchd connects, and retries indefinitely
)

// Limits of Settings.MaxMemory and its default, in bytes. The default is more than guests have, and
// small enough that the address space of a process, 2^47 bytes on x86-64, has room for dozens of
// guests.
const (
	minMaxMemory     = 1 << 20
	defaultMaxMemory = 1 << 40
	maxMaxMemory     = 64 << 40
)

// Settings.QueueLen: the default is that of TAP devices (tx_queue_len).
const (
	defaultQueueLen = 1000
	maxQueueLen     = 1 << 20
)

func newSettings(name string, sw *config.Switch) *Settings {
	return &Settings{
		Mode:      ModeServer,
		Socket:    filepath.Join(sw.SocketDir, name+".sock"),
		Access:    sw.PortSockets,
		Queues:    1,
		QueueLen:  defaultQueueLen,
		MaxMemory: defaultMaxMemory,
		Offloads:  allOffloads(),
	}
}

// Place implements config.Settings.
func (s *Settings) Place() config.Place {
	if s.FD != 0 {
		n := strconv.Itoa(s.FD)
		return config.Place{Is: "file descriptor", Name: n, ID: n}
	}
	return config.SocketPlace("socket", s.Socket)
}

// Keys implements config.Settings.
func (s *Settings) Keys(p *vswitch.PortConfig) []key.Key {
	const noMemory = ", an uplink has no memory of a guest"
	keys := []key.Key{
		{Name: "socket", Value: key.Socket(&s.Socket), Live: key.Next, Default: "`NAME.sock` in `switch.socket_dir`",
			Same: func() any { return s.Place().String() }, Changed: s.moved, Doc: "the unix socket"},
		{Name: "mode", Value: key.OneOf(&s.Mode, ModeServer, ModeClient), Live: key.Next, Changed: s.moved,
			Doc: "`server`: vswitchd listens on the socket; `client`: vswitchd connects to it, and retries until it succeeds"},
		{Name: "fd", Value: inherited(s), Same: func() any { return s.FD }, Flag: true},
		{Name: "queues", Value: key.Int(&s.Queues, 1, netport.MaxQueues), Live: key.Next,
			Changed: func() string {
				return fmt.Sprintf("will offer another number of queue pairs, %d, %s", s.Queues, toNext)
			},
			Doc: "maximum number of queue pairs offered to the guest"},
		{Name: "rx_queue_len", Value: key.Int(&s.QueueLen, 0, maxQueueLen), Elsewhere: ", only guests have receive queues",
			Doc: "maximum number of frames that wait for each receive queue of the guest while the queue has no buffers"},
		{Name: "mtu", Value: key.IntOrZero(&s.MTU, 68, 65535), Live: key.Next, Changed: offers("another MTU"),
			Doc: "the MTU offered to the guest; 0: none"},
		{Name: "mac", Value: key.OptionalMAC(&p.MACs), Doc: `the guest's address, which no other port can use; "": not known`},
		{Name: "offloads", Value: offloads(&s.Offloads), Live: key.Next, Changed: offers("other offloads"),
			Elsewhere: "; those of an uplink are its interface's, see ethtool(8)",
			Doc:       "the offloads that guest and vswitchd may use; all others require `csum`"},
		{Name: "max_memory", Value: key.Size(&s.MaxMemory, minMaxMemory, maxMaxMemory), Elsewhere: noMemory,
			Changed: func() string { return "has another max_memory, for memory mapped from now on" },
			Doc:     "maximum size of guest memory that may be mapped"},
		{Name: "disk_memory", Value: key.Bool(&s.DiskMemory), Elsewhere: noMemory,
			Changed: func() string { return "has another disk_memory, for memory mapped from now on" },
			Doc:     "the guest's memory may be a file on a disk; workers may then have to wait for the disk"},
	}
	for _, k := range s.Access.Keys(key.Now, "the socket") {
		k.Default = "that of `[switch]`"
		k.Changed = func() string {
			if s.Mode == ModeClient {
				return ""
			}
			return "has another owner or mode of its socket"
		}
		keys = append(keys, k)
	}
	return keys
}

const toNext = "to the next front-end that connects"

func offers(what string) func() string {
	return func() string { return "will offer " + what + " " + toNext }
}

// moved describes where the next front-end connects, for the output of a reload.
func (s *Settings) moved() string {
	if s.Mode == ModeClient {
		return fmt.Sprintf("connects to %s for the next front-end", s.Socket)
	}
	return fmt.Sprintf("takes the next front-end from %s", s.Socket)
}

// inherited is the key for the file descriptor of a socket that vswitchd inherited at start.
func inherited(s *Settings) key.Value {
	return key.Value{
		Set: func(v any) error {
			s.FD, s.Socket = int(v.(int64)), ""
			return nil
		},
		Get: func() any { return int64(s.FD) },
	}
}

// offloadNames are the offloads that guests and the switch can use, in the order in which they are
// shown. Each name stands for the virtio-net features that the offload needs in both directions.
var offloadNames = []struct {
	name     string
	features uint64
}{
	{"csum", netport.OffloadCsum}, // checksums of TCP and UDP
	{"tso", netport.OffloadTSO},   // segmentation of TCP, over IPv4 and IPv6, with ECN
	{"ufo", netport.OffloadUFO},   // fragmentation of UDP datagrams
	{"uso", netport.OffloadUSO},   // segmentation of UDP: several datagrams in one frame
}

func allOffloads() (features uint64) {
	for _, o := range offloadNames {
		features |= o.features
	}
	return features
}

// offloadNamesOf returns the names of the offloads whose features are all set.
func offloadNamesOf(features uint64) []string {
	names := []string{}
	for _, o := range offloadNames {
		if features&o.features == o.features {
			names = append(names, o.name)
		}
	}
	return names
}

func offloads(dst *uint64) key.Value {
	words := offloadNamesOf(allOffloads())
	return key.Make("list of strings, each one of "+key.TOML(words), dst, func(v any) (uint64, error) {
		list, err := key.Array(v)
		if err != nil {
			return 0, err
		}
		var features uint64
		for i, e := range list {
			word, err := key.Word(e, words...)
			if err != nil {
				return 0, fmt.Errorf("element %d %w", i, err)
			}
			for _, o := range offloadNames {
				if o.name == word {
					features |= o.features
				}
			}
		}
		if named := offloadNamesOf(features); len(named) > 0 && named[0] != words[0] {
			return 0, fmt.Errorf("has %q without %q, which it needs", named[0], words[0])
		}
		return features, nil
	}, func(features uint64) any { return offloadNamesOf(features) })
}
