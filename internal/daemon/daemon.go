// Package daemon assembles the switch that a configuration describes. So far
// it holds the configuration and moves no frames.
package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/version"
)

// Daemon is a switch with its ports.
type Daemon struct {
	log   hclog.Logger
	start time.Time

	mu  sync.Mutex
	cfg *config.Config
}

// New sets up everything that can fail: when it returns, sockets are listening
// and uplinks are attached, and Run must be called. An error that is a
// config.Errors is the operator's to mend, any other is the machine's.
func New(cfg *config.Config, log hclog.Logger) (*Daemon, error) {
	return &Daemon{cfg: cfg, log: log, start: time.Now()}, nil
}

// Run moves frames until ctx is done, then takes everything down, removes the
// sockets that it made and returns nil; or an error as soon as the switch
// cannot go on.
func (d *Daemon) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Reload changes the running switch to cfg, as a whole or not at all, and
// returns a line for each thing that changed.
func (d *Daemon) Reload(cfg *config.Config) (changed []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cfg = cfg
	return nil, nil
}

// Backend returns the switch as the control API sees it.
func (d *Daemon) Backend() control.Backend { return backend{d} }

type backend struct{ d *Daemon }

func (b backend) Switch() control.SwitchStatus {
	return control.SwitchStatus{Version: version.String(), UptimeS: int64(time.Since(b.d.start).Seconds())}
}

func (b backend) Ports() []control.PortInfo {
	b.d.mu.Lock()
	defer b.d.mu.Unlock()
	var ports []control.PortInfo
	for _, u := range b.d.cfg.Uplinks {
		ports = append(ports, control.PortInfo{Name: u.Name, Kind: control.KindUplink, State: control.StateError, Interface: u.Interface})
	}
	for _, p := range b.d.cfg.Ports {
		ports = append(ports, control.PortInfo{Name: p.Name, Kind: control.KindGuest, State: control.StateError, Socket: p.Socket})
	}
	return ports
}

func (b backend) Port(name string) (control.PortDetail, error) {
	for _, p := range b.Ports() {
		if p.Name == name {
			return control.PortDetail{PortInfo: p}, nil
		}
	}
	return control.PortDetail{}, control.ErrNotFound
}

func (b backend) FDB(control.FDBFilter) []control.FDBEntry { return nil }
