package daemon

import (
	"path/filepath"
	"slices"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/port"
	"vswitchd/internal/sandbox"
)

// Confine takes from the process what the daemon does not need with its configuration, which came
// from file ("": from none). What does not hold is logged. Confine is called at most once, by a
// process that is nothing but this daemon, before Run and before any change.
func (d *Daemon) Confine(file string) {
	d.openMemory() // which the sandbox would prevent
	d.sandbox = sandbox.Enter(d.kinds.sandboxConfig(d.cfg, file))
	for _, p := range d.sandbox.Parts() {
		if p.State == sandbox.Missing || p.State == sandbox.Failed {
			d.log.Warn("a part of the sandbox does not hold", "part", p.Name, "reason", p.Detail)
		}
	}
}

// sandboxConfig returns what a daemon with a configuration needs.
func (ks kinds) sandboxConfig(cfg *config.Config, file string) sandbox.Config {
	s := &cfg.Sandbox
	c := sandbox.Config{
		Landlock: s.Landlock, Seccomp: s.Seccomp, Capabilities: s.Capabilities, NoNewPrivs: s.NoNewPrivs,
		Write: append([]string{cfg.Switch.SocketDir}, s.Paths...),
	}
	if file != "" {
		// Editors replace the file, so what has to be readable is the directory: of the file, and
		// of what it may be a symbolic link to.
		c.Read = append(c.Read, filepath.Dir(file))
		if real, err := filepath.EvalSymlinks(file); err == nil {
			c.Read = append(c.Read, filepath.Dir(real))
		}
	}
	if cfg.Control.Socket != "" {
		c.Write = append(c.Write, filepath.Dir(cfg.Control.Socket))
	}
	for _, n := range ks.needs(cfg) {
		c.Keep = append(c.Keep, n.Capabilities...)
		c.Edit = append(c.Edit, n.Edits...)
		if n.Directory != "" {
			c.Write = append(c.Write, n.Directory)
		}
	}
	return c
}

// needs returns what the ports of a configuration need, and those that may be added to it: guests'
// ports, which come and go with virtual machines, and any, if there are none yet, as the
// configuration then does not tell what the switch is for.
func (ks kinds) needs(cfg *config.Config) (list []port.Needs) {
	for _, p := range cfg.Ports {
		list = append(list, ks.of(p).Needs(p))
	}
	for _, k := range ks {
		table := k.Declaration().Table
		if len(cfg.Ports) == 0 || table == guestTable || slices.Contains(cfg.Sandbox.KeepFor, table) {
			list = append(list, k.Needs(nil))
		}
	}
	return list
}

// guestTable is the name of the tables of guests' ports.
const guestTable = "port"

// checkSandbox returns the reasons why the sandbox does not let a port be opened.
func (d *Daemon) checkSandbox(p *config.Port) (errs config.Errors) {
	n := d.kinds.of(p).Needs(p)
	for _, name := range n.Capabilities {
		if err := d.sandbox.CheckCapability(name); err != nil {
			return append(errs, p.Errorf("", "%v: restart vswitchd with this port in its configuration file, or with sandbox.keep_for = [%q]",
				err, p.Kind.Table))
		}
	}
	if n.Directory != "" {
		if err := d.sandbox.CheckWrite(n.Directory); err != nil {
			errs = append(errs, p.Errorf(p.Place().Key, "%v", err))
		}
	}
	return errs
}

// sandboxStatus is the sandbox as the control API shows it.
func (d *Daemon) sandboxStatus() (s control.Sandbox) {
	for _, p := range d.sandbox.Parts() {
		s.Parts = append(s.Parts, control.SandboxPart{Name: p.Name, State: string(p.State), Detail: p.Detail})
	}
	s.Capabilities = d.sandbox.Capabilities()
	if d.sandbox.Confined() {
		s.Read, s.Write = d.sandbox.Readable(), d.sandbox.Writable()
	}
	return s
}
