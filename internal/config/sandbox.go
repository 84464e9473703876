package config

import (
	"slices"

	"vswitchd/internal/config/key"
	"vswitchd/internal/nearest"
)

// Sandbox configures what the process can do once it has started.
type Sandbox struct {
	Landlock     bool
	Seccomp      bool
	Capabilities bool // all that nothing needs are dropped
	NoNewPrivs   bool

	Paths   []string // where sockets can be made later, besides the directories of the configuration
	KeepFor []string // names of kinds' tables

	where where
}

func (s *Sandbox) keys() []key.Key {
	return []key.Key{
		{Name: "landlock", Value: key.Bool(&s.Landlock), Live: key.Restart,
			Doc: "vswitchd reads only its configuration, and makes files only in directories of sockets"},
		{Name: "seccomp", Value: key.Bool(&s.Seccomp), Live: key.Restart,
			Doc: "system calls fail that vswitchd does not need, such as those that start a program"},
		{Name: "capabilities", Value: key.Bool(&s.Capabilities), Live: key.Restart,
			Doc: "capabilities are dropped that no port needs"},
		{Name: "no_new_privs", Value: key.Bool(&s.NoNewPrivs), Live: key.Restart,
			Doc: "no program that vswitchd might start has more privileges; `landlock` and `seccomp` require this"},
		{Name: "paths", Value: key.Directories(&s.Paths), Live: key.Restart,
			Doc: "directories in which ports that are added later can have their sockets, besides those that the configuration names at start"},
		{Name: "keep_for", Value: key.Texts(&s.KeepFor), Live: key.Restart,
			Doc: "tables of ports that can be added later although there are none at start: `uplink`, `host`. Guests' ports can always be added, and all others if there is no port at start"},
	}
}

// checkSandbox checks that the parts of the sandbox do not contradict each other, and that the
// kinds of port exist.
func (p *parser) checkSandbox() {
	s := &p.cfg.Sandbox
	if !s.NoNewPrivs && (s.Landlock || s.Seccomp) {
		p.errs = append(p.errs, s.where.errorf("no_new_privs", "is false, but landlock and seccomp require it: switch these off as well"))
	}
	var tables []string
	for _, k := range p.kinds {
		tables = append(tables, k.Table)
	}
	for _, name := range s.KeepFor {
		if !slices.Contains(tables, name) {
			p.errs = append(p.errs, s.where.errorf("keep_for", "there are no ports [%s.NAME]%s", name, nearest.Hint(name, tables)))
		}
	}
}

// At returns the position of a key of [sandbox], or that of the table if the key was not set; see
// Port.At.
func (s *Sandbox) At(key string) Pos { return s.where.at(key) }
