package sandbox

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	_ "vswitchd/internal/platform/linux"
)

// Config says which parts are wanted, and what the process needs from now on.
type Config struct {
	Landlock, Seccomp, Capabilities, NoNewPrivs bool

	Read  []string // files, and directories with all that is below
	Write []string // directories in which files and sockets are made and removed, and read
	Edit  []string // directories below which existing files are written

	// Keep are the capabilities that the process keeps of those that it has, such as "CAP_NET_RAW".
	Keep []string
}

// State is what has become of a part.
type State string

// Values of State.
const (
	On      State = "on"
	Off     State = "off"         // as configured
	Missing State = "unavailable" // the kernel does not have the part
	Failed  State = "failed"
)

// A Part is a part of the sandbox.
type Part struct {
	Name   string // the key that switches the part
	State  State
	Detail string // in which version the part is on, or why it is not; "": nothing to say
}

// A Sandbox is what holds. It is not modified.
type Sandbox struct {
	parts        []Part
	capabilities []string // that the process has
	given        []string // that it had and gave up
	read, write  []string // with symbolic links resolved
	confined     bool     // Landlock is on
}

// Enter takes from the process what c does not name. It never fails as a whole: Parts says what
// holds.
func Enter(c Config) *Sandbox {
	s := &Sandbox{read: resolve(c.Read), write: resolve(c.Write)}
	c.Read, c.Write = s.read, s.write
	s.add("no_new_privs", c.NoNewPrivs, setNoNewPrivs)
	s.add("landlock", c.Landlock, c.landlock)
	s.confined = s.parts[1].State == On
	had := heldCapabilities()
	s.add("capabilities", c.Capabilities, c.dropCapabilities)
	s.capabilities = heldCapabilities()
	s.given = slices.DeleteFunc(had, func(name string) bool { return slices.Contains(s.capabilities, name) })
	// Last, as the filter refuses what the other parts do.
	s.add("seccomp", c.Seccomp, loadFilter)
	return s
}

// An unavailable error says that the kernel does not have a part.
type unavailable struct{ error }

// add enters a part, if it is wanted.
func (s *Sandbox) add(name string, wanted bool, enter func() (detail string, err error)) {
	p := Part{Name: name, State: Off}
	if wanted {
		detail, err := enter()
		p.State, p.Detail = On, detail
		if err != nil {
			p.State, p.Detail = Failed, err.Error()
			if _, is := err.(unavailable); is {
				p.State = Missing
			}
		}
	}
	s.parts = append(s.parts, p)
}

// Parts returns all parts.
func (s *Sandbox) Parts() []Part { return slices.Clone(s.parts) }

// Capabilities returns the names of the capabilities that the process has.
func (s *Sandbox) Capabilities() []string { return slices.Clone(s.capabilities) }

// Readable and Writable return the files and directories that the process can read, and the
// directories that it can write to. They say nothing if Landlock does not hold.
func (s *Sandbox) Readable() []string { return slices.Clone(s.read) }
func (s *Sandbox) Writable() []string { return slices.Clone(s.write) }

// Confined reports whether access to files is restricted.
func (s *Sandbox) Confined() bool { return s.confined }

// CheckWrite returns an error if files cannot be made in dir because of the sandbox.
func (s *Sandbox) CheckWrite(dir string) error {
	if !s.confined {
		return nil
	}
	path := resolved(dir)
	if slices.ContainsFunc(s.write, func(w string) bool { return within(path, w) }) {
		return nil
	}
	return fmt.Errorf("the sandbox lets vswitchd make no sockets in %s: it was in no configured directory at start; "+
		"add the directory to sandbox.paths and restart vswitchd", dir)
}

// CheckCapability returns an error if the process has given up a capability.
func (s *Sandbox) CheckCapability(name string) error {
	if !slices.Contains(s.given, name) {
		return nil
	}
	return fmt.Errorf("vswitchd gave up %s, which nothing needed when it started", name)
}

// within reports whether path is dir or below it. Both are clean and absolute.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// resolve returns sorted absolute paths without symbolic links, each once.
func resolve(paths []string) (list []string) {
	for _, p := range paths {
		list = append(list, resolved(p))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// resolved returns the path itself if it does not exist.
func resolved(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}
