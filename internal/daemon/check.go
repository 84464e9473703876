package daemon

import (
	"fmt"
	"net"
	"slices"

	"vswitchd/internal/config"
	"vswitchd/internal/rundir"
	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
)

// Check returns why a daemon could not be started with a configuration. It asks those who would
// refuse: a switch, which it makes and does not use, the workers, the kinds of port. It opens
// nothing that another process could notice, so that it may be called while a vswitchd runs with
// the same configuration; whether sockets and addresses are in use is not looked at.
//
// The configuration may be what remains of a file with errors, as config.Kinds.Examine returns it.
func Check(cfg *config.Config) config.Errors {
	ks := allKinds()
	errs := append(ks.checkMachine(cfg), ks.checkPlaces(cfg)...)
	return config.Errors{}.With(append(errs, ks.checkSwitch(cfg)...))
}

// checkSwitch returns what a switch would refuse whose uplinks have the addresses of the interfaces
// that are there now. A running switch is told these by the uplinks, after its ports are attached
// (vswitch.Attachment.SetLocal).
func (ks kinds) checkSwitch(cfg *config.Config) config.Errors {
	var x vswitch.Change
	hosts := make(map[vswitch.MAC]*config.Port) // by an address of the host
	for _, p := range cfg.Ports {
		pc := p.PortConfig
		for _, m := range ks.of(p).HostAddresses(p) {
			if hosts[m] == nil { // else the same interface under another name, for which p will wait
				hosts[m] = p
				pc.MACs = append(slices.Clone(pc.MACs), m)
			}
		}
		x.Attach = append(x.Attach, vswitch.NewPort{Config: pc})
	}
	x.Static = staticEntries(cfg.FDB)
	if err := vswitch.Check(switchConfig(cfg), &x); err != nil {
		return refusals(cfg, err, hosts)
	}
	return nil
}

func switchConfig(cfg *config.Config) vswitch.Config {
	return vswitch.Config{AgingTime: cfg.Switch.MACAging, TableSize: cfg.Switch.MACTable, Mcast: cfg.Switch.Mcast()}
}

// checkMachine looks for what a configuration needs of the machine and what no process can change:
// it is the operator's to mend.
func (ks kinds) checkMachine(cfg *config.Config) (errs config.Errors) {
	for _, cpu := range cfg.Switch.CPUs {
		errs = complain(errs, cfg.Switch.At("cpus"), "switch.cpus", worker.CheckCPU(cpu))
	}
	for _, p := range cfg.Ports {
		errs = append(errs, ks.of(p).CheckMachine(p)...)
	}
	return errs
}

// checkPlaces looks at the places of sockets, and at the address of metrics. Whoever makes these
// finds the same, as an error of the machine.
func (ks kinds) checkPlaces(cfg *config.Config) (errs config.Errors) {
	c := &cfg.Control
	if c.Socket != "" {
		errs = complain(errs, c.At("socket"), "control.socket", rundir.CheckSocket(c.Socket))
	}
	errs = complain(errs, c.At("metrics"), "control.metrics", checkAddress(c.Metrics))
	for _, p := range cfg.Ports {
		errs = append(errs, ks.of(p).CheckPlace(p)...)
	}
	return errs
}

// complain adds an error about a key, if there is one.
func complain(errs config.Errors, pos config.Pos, key string, err error) config.Errors {
	if err == nil {
		return errs
	}
	return append(errs, config.Error{Pos: pos, Key: key, Msg: err.Error()})
}

// checkAddress checks that the host of an address to listen on is this machine, by listening on
// another port of it.
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
		return fmt.Errorf("cannot listen on %s: it is no address of this machine", address)
	}
	return l.Close()
}
