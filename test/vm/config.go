package vm

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"vswitchd/test/guest"
)

// A Role is which side of the vhost-user socket QEMU is.
type Role int

const (
	Client Role = iota // QEMU connects; the back-end listens
	Server             // QEMU listens, and starts the guest once the back-end has connected
)

// A Config describes a guest. The zero value of a field means its default.
type Config struct {
	Name string // in file names, messages and, unless MAC is set, in the MAC address
	QEMU QEMU   // default QEMU10
	CPU  CPU    // default AMD64; a guest with another one is emulated, and has the tools of busybox alone

	Socket    string        // path of the vhost-user socket
	Role      Role          // of QEMU on it
	Reconnect time.Duration // a client connects anew this long after it lost the back-end; QEMU 7.2 knows whole seconds only, and rounds up; 0: never
	Netdev    string        // in place of a vhost-user socket: the whole value of -netdev, with id=net0
	Netns     string        // name of the network namespace that QEMU runs in, for a Netdev that is there; default: ours
	NoNIC     bool          // no network device at all; one can be plugged in later

	NetworkBoot bool // leave it to the firmware to find a kernel, whose parameters should be KernelParams

	Queues        int    // queue pairs; default 1
	MAC           string // default: made from the name
	Device        string // QEMU's network device; default: the usual virtio device of the CPU, virtio-net-pci for AMD64
	DeviceOptions string // for -device: "packed=on,mrg_rxbuf=off"; they win over those that package vm sets
	More          []NIC  // further network devices: eth1 and so on, which the guest leaves down

	IPs         []string // eth0's addresses with prefix lengths
	MTU         int      // eth0's, in bytes; default: the driver's choice
	IperfServer bool     // run iperf3 -s

	CPUs         int  // default 1
	MemoryMiB    int  // default 256
	HugePages    bool // of 2 MiB, for the memory
	MaxMemoryMiB int  // room for memory plugged in later; default: none
	Incoming     bool // wait for a migration instead of booting; Start returns once QMP answers

	ExtraArgs []string // for QEMU
}

// A NIC is a network device besides a guest's first one. Role and Reconnect are those of the
// Config.
type NIC struct {
	Socket        string
	Queues        int    // queue pairs; default 1
	MAC           string // must be set
	DeviceOptions string
}

func (c *Config) setDefaults() {
	if c.QEMU == "" {
		c.QEMU = QEMU10
	}
	if c.Name == "" {
		c.Name = "guest"
	}
	c.Queues = max(c.Queues, 1)
	c.CPUs = max(c.CPUs, 1)
	if c.MemoryMiB == 0 {
		c.MemoryMiB = 256
	}
	if c.MAC == "" {
		sum := sha256.Sum256([]byte(c.Name))
		c.MAC = net.HardwareAddr{0x52, 0x54, 0x00, sum[0], sum[1], sum[2]}.String()
	}
}

// program is the path of QEMU.
func (c *Config) program() (string, error) {
	if board := c.CPU.board(); board.qemu != "" {
		return Tool(board.qemu)
	}
	return c.QEMU.path()
}

// command is QEMU's, given the program. The files that QEMU makes are in dir.
func (c *Config) command(program, dir, accel string, img image) *exec.Cmd {
	args := c.args(dir, accel, img)
	if c.Netns == "" {
		return exec.Command(program, args...)
	}
	// It becomes the program: the process is the same.
	return exec.Command("ip", append([]string{"netns", "exec", c.Netns, program}, args...)...)
}

// args is QEMU's command line, without the program. The files that QEMU makes are in dir.
func (c *Config) args(dir, accel string, img image) []string {
	board := c.CPU.board()
	memory := fmt.Sprintf("%dM", c.MemoryMiB)
	ram := memory
	backend := "memory-backend-memfd,id=m,share=on,size=" + memory
	if c.HugePages {
		backend += ",hugetlb=on,hugetlbsize=2M"
	}
	if c.MaxMemoryMiB != 0 {
		ram += fmt.Sprintf(",slots=8,maxmem=%dM", c.MaxMemoryMiB)
	}
	args := []string{
		"-name", c.Name,
		"-nodefaults", "-no-user-config", "-display", "none",
		"-accel", accel, "-cpu", c.cpu(accel), "-smp", strconv.Itoa(c.CPUs),
		"-m", ram,
		"-object", backend,
		"-machine", board.machine + ",memory-backend=m",
		"-chardev", "file,id=console,path=" + dir + "/console", "-serial", "chardev:console",
		"-chardev", "socket,id=agent,server=on,wait=off,path=" + dir + "/agent",
		"-qmp", "unix:" + dir + "/qmp,server=on,wait=off",
	}
	args = append(args, board.channels...)
	if !c.NetworkBoot {
		args = append(args, "-kernel", img.kernel, "-initrd", img.initramfs, "-append", c.KernelParams())
	}
	if !c.NoNIC {
		args = append(args, c.nicArgs(accel)...)
	}
	if c.Incoming {
		args = append(args, "-incoming", "defer")
	}
	return append(args, c.ExtraArgs...)
}

// cpu returns the same model whatever runs it, which every version can emulate. QEMU 7.2 emulates
// cmpxchg16b, which the kernel's allocator uses, such that an interrupt right after it corrupts the
// flags; the kernel does without.
func (c *Config) cpu(accel string) string {
	if c.QEMU == QEMU72 && accel == "tcg" {
		return "qemu64,-cx16"
	}
	return c.CPU.board().cpu
}

// KernelParams is the kernel's command line. It has the guest boot fast under emulation: without
// the self-tests and the key rings that take it a second, and without much to print. A name in the
// list that a kernel does not have is ignored.
func (c Config) KernelParams() string {
	params := []string{
		"console=" + c.CPU.board().console, "quiet", "panic=-1", "mitigations=off", "cryptomgr.notests", "init_on_alloc=0",
		"initcall_blacklist=jent_mod_init,crypto_kdf108_init,load_system_certificate_list,bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init",
	}
	if agent := c.CPU.board().agent; agent != "" {
		params = append(params, guest.ParamAgent+"="+agent)
	}
	return strings.Join(append(params, c.guestParams()...), " ")
}

// guestParams are the kernel's parameters that the guest's agent reads.
func (c *Config) guestParams() []string {
	var params []string
	if len(c.IPs) > 0 {
		params = append(params, guest.ParamIP+"="+strings.Join(c.IPs, ","))
	}
	if c.MTU != 0 {
		params = append(params, guest.ParamMTU+"="+strconv.Itoa(c.MTU))
	}
	if c.IperfServer {
		params = append(params, guest.ParamIperf+"=1")
	}
	return params
}

func (c *Config) nicArgs(accel string) []string {
	var args []string
	driver := cmp.Or(c.Device, c.CPU.board().nic)
	for i, nic := range append([]NIC{{c.Socket, c.Queues, c.MAC, c.DeviceOptions}}, c.More...) {
		id := strconv.Itoa(i)
		queues := max(nic.Queues, 1)
		netdev := c.Netdev
		if i > 0 || netdev == "" {
			args = append(args, "-chardev", c.chardev("net"+id, nic.Socket))
			netdev = fmt.Sprintf("vhost-user,id=net%s,chardev=net%s,queues=%d", id, id, queues)
		}
		device := options{{"id", "nic" + id}, {"netdev", "net" + id}, {"mac", nic.MAC}}
		if driver == "virtio-net-pci" && !c.NetworkBoot {
			// Without a ROM the firmware does not look for a network to boot from.
			device = device.set("romfile=")
		}
		if queues > 1 {
			device = device.set("mq=on")
			if driver == "virtio-net-pci" {
				device = device.set(fmt.Sprintf("vectors=%d", 2*queues+2))
			}
		}
		if c.QEMU == QEMU72 && accel == "tcg" {
			// It crashes there with any vhost back-end once the guest enables MSI-X.
			device = device.set("vectors=0")
		}
		device = device.set(nic.DeviceOptions)
		args = append(args, "-netdev", netdev, "-device", driver+device.String())
	}
	return args
}

func (c *Config) chardev(id, path string) string {
	chardev := "socket,id=" + id + ",path=" + path
	switch {
	case c.Role == Server:
		chardev += ",server=on,wait=off"
	case c.Reconnect > 0 && c.QEMU == QEMU72:
		chardev += fmt.Sprintf(",reconnect=%d", (c.Reconnect+time.Second-1)/time.Second)
	case c.Reconnect > 0:
		chardev += fmt.Sprintf(",reconnect-ms=%d", c.Reconnect.Milliseconds())
	}
	return chardev
}

// options are a QEMU device's, in order.
type options []struct{ key, value string }

// set takes key=value,... and replaces those already there.
func (o options) set(list string) options {
next:
	for _, option := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		key, value, _ := strings.Cut(option, "=")
		for i := range o {
			if o[i].key == key {
				o[i].value = value
				continue next
			}
		}
		o = append(o, struct{ key, value string }{key, value})
	}
	return o
}

func (o options) String() string {
	var b strings.Builder
	for _, option := range o {
		fmt.Fprintf(&b, ",%s=%s", option.key, option.value)
	}
	return b.String()
}
