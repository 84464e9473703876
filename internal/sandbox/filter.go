package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// denied are the system calls that fail with EPERM. The list names what is refused instead of what
// is needed, because what the Go runtime needs changes with each release. Names that an
// architecture does not have are left out for it.
var denied = []string{
	// Other programs and processes.
	"execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise",
	"process_mrelease", "kcmp", "pidfd_getfd", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "tkill",
	// The tree of files.
	"mount", "umount2", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig", "fsmount", "fspick",
	"mount_setattr", "pivot_root", "chroot", "mknod", "mknodat", "name_to_handle_at", "open_by_handle_at",
	"fanotify_init", "quotactl", "quotactl_fd", "acct", "swapon", "swapoff",
	// The kernel.
	"bpf", "perf_event_open", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot",
	"syslog", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key",
	"lsm_set_self_attr", "vhangup", "iopl", "ioperm", "modify_ldt", "personality", "uselib", "remap_file_pages",
	"move_pages", "migrate_pages", "shmget", "shmat", "shmctl", "msgget", "msgctl", "semget", "semctl",
	// Identity, namespaces, and the machine's name and clock.
	"unshare", "setns", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid",
	"setfsgid", "capset", "sethostname", "setdomainname", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
}

// deniedIf are system calls that fail with EPERM if all conditions of an entry hold. self is the
// number of the process.
func deniedIf(self int) []seccomp.NameWithConditions {
	const (
		equal, not, with, without = seccomp.Equal, seccomp.NotEqual, seccomp.BitsSet, seccomp.BitsNotSet

		stream = 1 // set in SOCK_STREAM, SOCK_RAW and SOCK_SEQPACKET, not in SOCK_DGRAM
	)
	type when = seccomp.ArgumentConditions
	return []seccomp.NameWithConditions{
		// Threads may be started, processes not.
		{Name: "clone", Conditions: when{{Argument: 0, Operation: without, Value: unix.CLONE_THREAD}}},
		// The Go runtime sends signals to its own threads.
		{Name: "kill", Conditions: when{{Argument: 0, Operation: not, Value: uint64(self)}}},
		{Name: "tgkill", Conditions: when{{Argument: 0, Operation: not, Value: uint64(self)}}},
		// Memory that becomes code.
		{Name: "mmap", Conditions: when{{Argument: 2, Operation: with, Value: unix.PROT_EXEC}}},
		{Name: "mprotect", Conditions: when{{Argument: 2, Operation: with, Value: unix.PROT_EXEC}}},
		{Name: "pkey_mprotect", Conditions: when{{Argument: 2, Operation: with, Value: unix.PROT_EXEC}}},
		// Typing into the terminal from which vswitchd was started.
		{Name: "ioctl", Conditions: when{{Argument: 1, Operation: equal, Value: unix.TIOCSTI}}},
		{Name: "ioctl", Conditions: when{{Argument: 1, Operation: equal, Value: tioclinux}}},
		// Sockets that nothing here makes: of other families, and for TCP. Landlock does not
		// restrict MPTCP, and TCP only since ABI 4.
		{Name: "socket", Conditions: when{
			{Argument: 0, Operation: not, Value: unix.AF_UNIX},
			{Argument: 0, Operation: not, Value: unix.AF_INET},
			{Argument: 0, Operation: not, Value: unix.AF_INET6},
			{Argument: 0, Operation: not, Value: unix.AF_NETLINK},
			{Argument: 0, Operation: not, Value: unix.AF_PACKET},
		}},
		{Name: "socket", Conditions: when{{Argument: 0, Operation: equal, Value: unix.AF_INET}, {Argument: 1, Operation: with, Value: stream}}},
		{Name: "socket", Conditions: when{{Argument: 0, Operation: equal, Value: unix.AF_INET6}, {Argument: 1, Operation: with, Value: stream}}},
	}
}

// tioclinux is TIOCLINUX of ioctl_tty(2).
const tioclinux = 0x541c

// assemble returns the filter for the machine's architecture.
func assemble(self int) ([]bpf.RawInstruction, error) {
	machine, err := arch.GetInfo("")
	if err != nil {
		return nil, unavailable{fmt.Errorf("seccomp filters for this architecture: %w", err)}
	}
	known := func(name string) bool { _, is := machine.SyscallNames[name]; return is }
	policy := seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls: []seccomp.SyscallGroup{
			{
				Action: seccomp.ActionErrno,
				Names:  slices.DeleteFunc(slices.Clone(denied), func(name string) bool { return !known(name) }),
				NamesWithCondtions: slices.DeleteFunc(deniedIf(self), func(n seccomp.NameWithConditions) bool {
					return !known(n.Name)
				}),
			},
			// The flags of clone3 are in memory, where a filter cannot see them. C libraries fall
			// back to clone.
			{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
		},
	}
	program, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	// The library's filter lets the system calls of other architectures pass, by which a 64-bit
	// process can make most of the calls above: int 0x80 on x86-64.
	native := []bpf.Instruction{
		bpf.LoadAbsolute{Off: archOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(machine.ID), SkipTrue: 1},
		bpf.RetConstant{Val: uint32(seccomp.ActionErrno) | uint32(unix.EPERM)},
	}
	return bpf.Assemble(append(native, program...))
}

// archOffset is the offset of the field arch in struct seccomp_data.
const archOffset = 4

// loadFilter installs the filter for all threads.
func loadFilter() (detail string, err error) {
	program, err := assemble(os.Getpid())
	if err != nil {
		return "", err
	}
	switch err := installFilter(program); {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return "", unavailable{fmt.Errorf("the kernel has no seccomp filters: %w", err)}
	case err != nil:
		return "", fmt.Errorf("installing the seccomp filter: %w", err)
	}
	return "", nil
}
