package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A child is this test program, started again: it enters a sandbox, and says what it could do.
const childVariable = "VSWITCHD_TEST_SANDBOX"

func TestMain(m *testing.M) {
	if plan := os.Getenv(childVariable); plan != "" {
		os.Exit(child(plan))
	}
	os.Exit(m.Run())
}

// A plan is what a child does.
type plan struct {
	Config  Config
	Allowed string   // a directory of Config.Write
	Other   string   // a directory that is in no list
	Read    string   // a file of Config.Read
	Only    []string // the attempts that are made; none: all
}

// A report is what a child says.
type report struct {
	Parts        []Part
	Capabilities []string
	Results      map[string]string // by attempt: "" or the error
	Threads      map[string]string // Seccomp, NoNewPrivs and CapPrm of all threads, joined
}

// An attempt is something that a process may try. want is the error: EPERM by seccomp, EACCES by
// Landlock, nil if it is to succeed.
type attempt struct {
	name string
	want error
	try  func(p *plan) error
}

// call is an attempt by a bare system call, whose arguments are all zero.
func call(name string, number uintptr) attempt {
	return attempt{name, unix.EPERM, func(*plan) error {
		if _, _, errno := unix.Syscall(number, 0, 0, 0); errno != 0 {
			return errno
		}
		return nil
	}}
}

func socket(name string, want error, family, kind, protocol int) attempt {
	return attempt{name, want, func(*plan) error {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}}
}

func write(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }

func bind(dir string) error {
	path := filepath.Join(dir, "a.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return err
	}
	return l.Close() // removes the socket
}

func attempts() []attempt {
	return []attempt{
		{"read a file of the configuration", nil, func(p *plan) error { _, err := os.ReadFile(p.Read); return err }},
		{"read a directory of sockets", nil, func(p *plan) error { _, err := os.ReadDir(p.Allowed); return err }},
		{"read another file", unix.EACCES, func(p *plan) error { _, err := os.ReadFile(filepath.Join(p.Other, "secret")); return err }},
		{"read the users", unix.EACCES, func(*plan) error { _, err := os.ReadFile("/etc/passwd"); return err }},
		{"list another directory", unix.EACCES, func(*plan) error { _, err := os.ReadDir("/"); return err }},
		{"look at itself", nil, func(*plan) error { _, err := os.ReadFile("/proc/self/status"); return err }},
		{"read the kernel's limits", nil, func(*plan) error { _, err := os.ReadFile("/proc/sys/vm/max_map_count"); return err }},
		{"write to itself in /proc", unix.EACCES, func(*plan) error { return write("/proc/self/comm") }},
		{"change what becomes of cores", unix.EACCES, func(*plan) error {
			_, err := os.OpenFile("/proc/sys/kernel/core_pattern", os.O_WRONLY, 0)
			return err
		}},
		{"write a file beside the sockets", nil, func(p *plan) error { return write(filepath.Join(p.Allowed, "a.lock")) }},
		{"remove that file", nil, func(p *plan) error { return os.Remove(filepath.Join(p.Allowed, "a.lock")) }},
		{"make and remove a socket", nil, func(p *plan) error { return bind(p.Allowed) }},
		{"write elsewhere", unix.EACCES, func(p *plan) error { return write(filepath.Join(p.Other, "a")) }},
		{"overwrite a file elsewhere", unix.EACCES, func(p *plan) error { return write(filepath.Join(p.Other, "secret")) }},
		{"write the configuration", unix.EACCES, func(p *plan) error { return write(p.Read) }},
		{"make a socket elsewhere", unix.EACCES, func(p *plan) error { return bind(p.Other) }},
		{"remove a file elsewhere", unix.EACCES, func(p *plan) error { return os.Remove(filepath.Join(p.Other, "secret")) }},
		{"make a directory", unix.EACCES, func(p *plan) error { return os.Mkdir(filepath.Join(p.Allowed, "d"), 0o700) }},
		{"make a symbolic link", unix.EACCES, func(p *plan) error { return os.Symlink("/etc", filepath.Join(p.Allowed, "l")) }},
		{"connect to a socket elsewhere", nil, func(p *plan) error {
			c, err := net.Dial("unix", filepath.Join(p.Other, "listening"))
			if err == nil {
				c.Close()
			}
			return err
		}},
		{"start a program", unix.EPERM, func(*plan) error { return unix.Exec("/bin/true", []string{"true"}, nil) }},
		{"start a process", unix.EPERM, func(*plan) error {
			_, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
			return err
		}},
		{"start threads", nil, func(*plan) error { return threads(8) }},
		{"signal another process", unix.EPERM, func(*plan) error { return unix.Kill(os.Getppid(), unix.SIGURG) }},
		{"signal itself", nil, func(*plan) error { return unix.Kill(os.Getpid(), unix.SIGURG) }},
		{"make code", unix.EPERM, func(*plan) error {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			return err
		}},
		{"map memory", nil, func(*plan) error {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			return err
		}},
		{"make a memory file", nil, func(*plan) error { _, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC); return err }},
		{"mount", unix.EPERM, func(p *plan) error { return unix.Mount("none", p.Allowed, "tmpfs", 0, "") }},
		{"enter a new namespace", unix.EPERM, func(*plan) error { return unix.Unshare(unix.CLONE_NEWUSER) }},
		{"become another user", unix.EPERM, func(*plan) error { return unix.Setresuid(1, 1, 1) }},
		{"raise a capability", unix.EPERM, raise},
		socket("make a unix socket", nil, unix.AF_UNIX, unix.SOCK_SEQPACKET, 0),
		socket("make a UDP socket", nil, unix.AF_INET, unix.SOCK_DGRAM, 0),
		socket("make a netlink socket", nil, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE),
		socket("make a TCP socket", unix.EPERM, unix.AF_INET, unix.SOCK_STREAM, 0),
		socket("make an MPTCP socket", unix.EPERM, unix.AF_INET6, unix.SOCK_STREAM, 262),
		socket("make a raw socket", unix.EPERM, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
		socket("make a VSOCK socket", unix.EPERM, unix.AF_VSOCK, unix.SOCK_STREAM, 0),
		socket("make an AF_ALG socket", unix.EPERM, unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
		call("trace itself", unix.SYS_PTRACE), // PTRACE_TRACEME
		call("read another process", unix.SYS_PROCESS_VM_READV),
		call("load a BPF program", unix.SYS_BPF),
		call("load a module", unix.SYS_INIT_MODULE),
		call("load a module by descriptor", unix.SYS_FINIT_MODULE),
		call("use io_uring", unix.SYS_IO_URING_SETUP),
		call("use keys", unix.SYS_KEYCTL),
		call("add a key", unix.SYS_ADD_KEY),
		call("enter a namespace", unix.SYS_SETNS),
		call("count events", unix.SYS_PERF_EVENT_OPEN),
		call("open by handle", unix.SYS_OPEN_BY_HANDLE_AT),
		call("change the root", unix.SYS_CHROOT),
		call("set the clock", unix.SYS_SETTIMEOFDAY),
		{"start a process by clone3", unix.ENOSYS, call("", unix.SYS_CLONE3).try},
	}
}

// raise tries to make all permitted capabilities, and CAP_SYS_ADMIN, effective.
func raise(*plan) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	d := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
	return unix.Capset(&h, &d[0])
}

// threads runs n goroutines on threads of their own at the same time.
func threads(n int) error {
	var all, done sync.WaitGroup
	all.Add(n)
	for range n {
		done.Go(func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			all.Done()
			all.Wait()
		})
	}
	done.Wait()
	return nil
}

func child(text string) int {
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var release sync.WaitGroup // threads that were there before
	release.Add(1)
	for range 4 {
		go func() {
			runtime.LockOSThread()
			release.Wait()
		}()
	}
	time.Sleep(10 * time.Millisecond)
	s := Enter(p.Config)
	r := report{Parts: s.Parts(), Capabilities: s.Capabilities(), Results: map[string]string{}, Threads: map[string]string{}}
	for _, a := range attempts() {
		if len(p.Only) > 0 && !slices.Contains(p.Only, a.name) {
			continue
		}
		err := a.try(&p)
		r.Results[a.name] = ""
		switch {
		case err != nil && a.want != nil && errors.Is(err, a.want):
			r.Results[a.name] = a.want.Error()
		case err != nil:
			r.Results[a.name] = err.Error()
		}
	}
	if err := threadStates(r.Threads); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return 2
	}
	return 0
}

// threadStates collects the values of some fields of all threads of this process.
func threadStates(fields map[string]string) error {
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			if !slices.Contains([]string{"Seccomp", "NoNewPrivs", "CapPrm", "CapBnd", "CapAmb"}, name) {
				continue
			}
			if all := strings.Fields(fields[name]); !slices.Contains(all, value) {
				fields[name] = strings.Join(append(all, value), " ")
			}
		}
	}
	return nil
}

// run makes a child with a configuration in which everything is on, unless change says otherwise.
func run(t *testing.T, change func(*Config), only ...string) report {
	t.Helper()
	allowed, other, conf := t.TempDir(), t.TempDir(), t.TempDir()
	p := plan{Allowed: allowed, Other: other, Read: filepath.Join(conf, "vswitchd.toml"), Only: only}
	for _, f := range []string{filepath.Join(other, "secret"), p.Read} {
		if err := write(f); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", filepath.Join(other, "listening"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p.Config = Config{
		Landlock: true, Seccomp: true, Capabilities: true, NoNewPrivs: true,
		Read: []string{conf}, Write: []string{allowed}, Keep: []string{"CAP_NET_RAW"},
	}
	if change != nil {
		change(&p.Config)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the child: %v\n%s", err, out)
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return r
}

// A process in the sandbox can do what it must, and is refused the rest.
func TestSandboxRefuses(t *testing.T) {
	r := run(t, nil)
	for _, p := range r.Parts {
		if p.State != On {
			t.Errorf("%s is %s: %s", p.Name, p.State, p.Detail)
		}
	}
	for _, a := range attempts() {
		want := ""
		if a.want != nil {
			want = a.want.Error()
		}
		if got := r.Results[a.name]; got != want {
			t.Errorf("%s: %q, not %q", a.name, got, want)
		}
	}
}

// Every thread is confined, those that were there before as well as later ones.
func TestAllThreads(t *testing.T) {
	r := run(t, nil)
	for field, want := range map[string]string{
		"Seccomp": "2", "NoNewPrivs": "1", "CapPrm": "0000000000002000", "CapBnd": "0000000000002000", "CapAmb": "0000000000000000",
	} {
		if r.Threads[field] != want {
			t.Errorf("%s of all threads: %q, not %q", field, r.Threads[field], want)
		}
	}
	if !slices.Equal(r.Capabilities, []string{"CAP_NET_RAW"}) {
		t.Errorf("capabilities: %v", r.Capabilities)
	}
}

// Each part can be switched off, and the others hold without it.
func TestEachPartCanBeOff(t *testing.T) {
	refused := func(r report, name string) bool { return r.Results[name] != "" }
	for _, c := range []struct {
		part string
		off  func(*Config)
		can  string // what a process can do without the part
	}{
		{"landlock", func(c *Config) { c.Landlock = false }, "read another file"},
		{"seccomp", func(c *Config) { c.Seccomp = false }, "make a TCP socket"},
		{"capabilities", func(c *Config) { c.Capabilities = false }, ""},
	} {
		t.Run(c.part, func(t *testing.T) {
			// Nothing is tried that changes something if it succeeds.
			r := run(t, c.off, "read another file", "make a TCP socket")
			for _, p := range r.Parts {
				if want := map[bool]State{true: Off, false: On}[p.Name == c.part]; p.State != want {
					t.Errorf("%s is %s: %s", p.Name, p.State, p.Detail)
				}
			}
			for _, name := range []string{"read another file", "make a TCP socket"} {
				if refused(r, name) == (name == c.can) {
					t.Errorf("%s: %q", name, r.Results[name])
				}
			}
			if all := len(r.Capabilities) > 1; all != (c.part == "capabilities") {
				t.Errorf("capabilities: %v", r.Capabilities)
			}
		})
	}
}

// What the process cannot do any more is said before it is tried.
func TestChecks(t *testing.T) {
	s := &Sandbox{confined: true, write: []string{"/run/vswitchd"}, given: []string{"CAP_NET_RAW"}}
	for dir, ok := range map[string]bool{"/run/vswitchd": true, "/run/vswitchd/a": true, "/run/vswitchd2": false, "/run": false} {
		if err := s.CheckWrite(dir); (err == nil) != ok {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := s.CheckCapability("CAP_NET_RAW"); err == nil {
		t.Error("CAP_NET_RAW was given up")
	}
	if err := s.CheckCapability("CAP_NET_ADMIN"); err != nil {
		t.Error(err)
	}
	if err := (&Sandbox{}).CheckWrite("/run"); err != nil {
		t.Error(err)
	}
}
