package vm

// A CPU is the processor of a guest, by the name that Debian has for its architecture.
type CPU string

const (
	AMD64 CPU = "" // the one of this machine
	ARM64 CPU = "arm64"
	S390X CPU = "s390x" // big-endian
)

// A board is what a CPU's guests are made of besides.
type board struct {
	qemu     string // program in build/lab; "": that of the Config's QEMU
	cpu      string // QEMU's -cpu
	machine  string // QEMU's -machine
	nic      string // QEMU's default device for a network device
	console  string // the guest's name for its first serial port
	agent    string // and for the agent's terminal
	channels []string
}

func (c CPU) board() board {
	serial := []string{"-serial", "chardev:agent"}
	virtio := func(bus string) []string {
		return []string{"-device", "virtio-serial-" + bus, "-device", "virtconsole,chardev=agent"}
	}
	switch c {
	case ARM64:
		return board{
			qemu: "qemu-aarch64", cpu: "cortex-a72", machine: "virt", nic: "virtio-net-pci",
			console: "ttyAMA0", agent: "/dev/hvc0", channels: virtio("pci"),
		}
	case S390X:
		return board{
			qemu: "qemu-s390x", cpu: "max", machine: "s390-ccw-virtio", nic: "virtio-net-ccw",
			console: "ttysclp0", agent: "/dev/hvc0", channels: virtio("ccw"),
		}
	}
	return board{cpu: "qemu64", machine: "q35", nic: "virtio-net-pci", console: "ttyS0", channels: serial}
}

// foreign says that a guest is always emulated, and has the tools of busybox alone.
func (c CPU) foreign() bool { return c != AMD64 }
