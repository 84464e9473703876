package vm

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// UML in the place of a QEMU is User Mode Linux: a Linux kernel that runs as a process of this
// machine, and is its own front-end. Of a Config it uses Name, Socket, MemoryMiB, and the guest's
// part: IPs, MTU and IperfServer. It has one processor, chooses its MAC address, and has no
// monitor: methods that need one fail. It cannot connect again when its back-end has gone.
const UML QEMU = "uml"

// umlParams are kernel parameters. Those that the kernel does not know become environment variables
// of the guest's first process, and keep the guest's programs from using AVX, whose registers are
// not saved: see the command umlexec.
var umlParams = []string{
	"quiet", "con=null", "con0=null,fd:1", "ssl=null", "ssl1=fd:3",
	"GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX512CD,-AVX512DQ,-AVX_Fast_Unaligned_Load,-XSAVE,-XSAVEC",
	"GODEBUG=cpu.all=off",
}

// umlCommand is User Mode Linux's command, and this end of the guest's second serial port. The
// files that it makes are in dir.
//
// The guest's programs are processes of this machine. They go with the kernel, which is the first
// process of a PID namespace.
func (c *Config) umlCommand(program, dir string, img image) (*exec.Cmd, net.Conn, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "agent"), os.NewFile(uintptr(fds[1]), "ttyS1")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	console, err := os.Create(filepath.Join(dir, "console"))
	if err != nil {
		theirs.Close()
		conn.Close()
		return nil, nil, err
	}
	args := append([]string{
		program, "mem=" + strconv.Itoa(c.MemoryMiB) + "M", "initrd=" + img.umlInitramfs, "umid=" + c.Name, "uml_dir=" + dir,
	}, umlParams...)
	if !c.NoNIC {
		args = append(args, "virtio_uml.device="+c.Socket+":1")
	}
	cmd := exec.Command(img.umlexec, append(args, c.guestParams()...)...)
	cmd.Stdout = console
	cmd.ExtraFiles = []*os.File{theirs} // descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	return cmd, conn, nil
}

// closeInherited closes this process's copies of what a command was given.
func closeInherited(cmd *exec.Cmd) {
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	if f, ok := cmd.Stdout.(*os.File); ok {
		f.Close()
	}
}
