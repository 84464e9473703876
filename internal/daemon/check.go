package daemon

import (
	"fmt"
	"net"

	"vswitchd/internal/config"
	"vswitchd/internal/rundir"
	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
)

// Check returns the reasons why a daemon cannot be started with a configuration. It runs the same
// checks as a start: those of the switch, the workers and the kinds of port. It opens nothing that
// is visible to another process, so it can be called while a vswitchd runs with the same
// configuration. It does not check whether sockets and addresses are in use.
//
// The configuration may come from a file with errors, as config.Kinds.Examine returns it.
func Check(cfg *config.Config) config.Errors {
	ks := allKinds()
	errs := append(ks.checkMachine(cfg), ks.checkPlaces(cfg)...)
	return config.Errors{}.With(append(errs, ks.checkSwitch(cfg)...))
}

// checkSwitch returns the errors of a switch with this configuration whose uplinks have the
// addresses of the interfaces that exist now. In a running switch the uplinks set these addresses
// after the ports have been attached (vswitch.Attachment.SetLocal).
func (ks kinds) checkSwitch(cfg *config.Config) config.Errors {
	var x vswitch.Change
	hosts := make(map[vswitch.MAC]*config.Port) // by an address of the host
	for _, p := range cfg.Ports {
		n := vswitch.NewPort{Config: p.PortConfig}
		for _, m := range ks.of(p).HostAddresses(p) {
			if hosts[m] == nil { // otherwise the same interface under another name, for which p will wait
				hosts[m] = p
				n.Local = append(n.Local, m)
			}
		}
		x.Attach = append(x.Attach, n)
	}
	x.Static = staticEntries(cfg.FDB)
	x.Neighbors, x.SetNeighbors = neighbors(cfg.Neighbors), true
	x.Groups, x.SetGroups = staticGroups(cfg.MDB), true
	x.Mirrors, x.SetMirrors = mirrorConfigs(cfg.Mirrors), true
	x.Filters, x.Sets, x.SetFilters = filterConfigs(cfg.Filters), setConfigs(cfg.Sets), true
	if err := vswitch.Check(switchConfig(cfg), &x); err != nil {
		return refusals(cfg, err, hosts)
	}
	return nil
}

func switchConfig(cfg *config.Config) vswitch.Config {
	return vswitch.Config{FDB: cfg.Switch.Times(), TableSize: cfg.Switch.MACTable, Mcast: cfg.Switch.Mcast(), Loop: cfg.Switch.Loop()}
}

// checkMachine checks the requirements of a configuration that do not depend on other processes.
// Its errors are configuration errors, which the operator must correct.
func (ks kinds) checkMachine(cfg *config.Config) (errs config.Errors) {
	for _, cpu := range cfg.Switch.CPUs {
		errs = appendError(errs, cfg.Switch.At("cpus"), "switch.cpus", worker.CheckCPU(cpu))
	}
	for _, p := range cfg.Ports {
		errs = append(errs, ks.of(p).CheckMachine(p)...)
	}
	return errs
}

// checkPlaces checks the paths of sockets and the addresses of the other servers. Opening them
// reports the same conditions as errors of the machine.
func (ks kinds) checkPlaces(cfg *config.Config) (errs config.Errors) {
	c := &cfg.Control
	if c.Socket != "" {
		errs = appendError(errs, c.At("socket"), "control.socket", rundir.CheckSocket(c.Socket))
	}
	errs = appendError(errs, c.At("metrics"), "control.metrics", checkAddress(c.Metrics))
	errs = appendError(errs, c.At("status"), "control.status", checkAddress(c.Status))
	for _, p := range cfg.Ports {
		errs = append(errs, ks.of(p).CheckPlace(p)...)
	}
	return errs
}

// appendError appends an error about a key, unless err is nil.
func appendError(errs config.Errors, pos config.Pos, key string, err error) config.Errors {
	if err == nil {
		return errs
	}
	return append(errs, config.Error{Pos: pos, Key: key, Msg: err.Error()})
}

// checkAddress checks that the host part of a listening address belongs to this machine, by
// listening on an ephemeral port of that host.
func checkAddress(address string) error {
	if address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return fmt.Errorf("cannot listen on %s: not an address of this machine", address)
	}
	return l.Close()
}
