package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/daemon"
	"vswitchd/internal/metrics"
	"vswitchd/internal/status"
	"vswitchd/internal/usage"
	"vswitchd/internal/version"
)

// serve runs the switch until a signal stops it or it ends by itself, and returns the exit code.
// Each value from reloads triggers a reload of the configuration.
func serve(opts *options, cfg *config.Config, running *config.Running, reloads <-chan os.Signal, stderr io.Writer) int {
	log := newLogger(cfg.Log, stderr, readByJournal())
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	// From here on, a signal stops everything that has been started.
	go awaitEnd(catchEnds(), stop, log)

	log.Debug("starting", "version", version.String(), "config", opts.file)
	begin := start
	if opts.takeover {
		begin = takeOver
	}
	err := begin(ctx, opts, cfg, running, log, reloads)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // a signal stopped the start
	}
	if err != nil {
		var errs config.Errors
		if errors.As(err, &errs) {
			fmt.Fprintln(stderr, errs)
			return exitUsage
		}
		log.Error("stopped", "error", err)
		return exitFailed
	}
	log.Info("stopped")
	return exitOK
}

// start sets up the switch and its servers and runs them until ctx is done or the switch ends by
// itself. It returns after everything has been stopped.
func start(ctx context.Context, opts *options, cfg *config.Config, running *config.Running, log hclog.Logger, reloads <-chan os.Signal) error {
	for _, w := range cfg.Warnings {
		log.Warn("the configuration may not do what is meant", "reason", w)
	}
	if len(cfg.Ports) == 0 {
		log.Warn("no ports are configured: the configuration has neither port, uplink nor host, see vswitchd.toml(5)")
	}
	s := &service{opts: opts, cfg: cfg, running: running, log: log}
	// Open the control socket first: if another vswitchd listens on it, nothing else may be
	// changed.
	if cfg.Control.Socket != "" {
		l, err := control.Listen(ctx, cfg.Control.Socket, accessOf(cfg))
		if err != nil {
			return err
		}
		defer l.Close()
		s.control.Listener = l
	}
	var err error
	if s.metrics, err = listenTCP(ctx, "metrics", cfg.Control.Metrics); err != nil {
		return err
	}
	defer s.metrics.Close()
	if s.status, err = listenTCP(ctx, "status page", cfg.Control.Status); err != nil {
		return err
	}
	defer s.status.Close()
	if s.d, err = daemon.NewContext(ctx, cfg, log); err != nil {
		return err
	}
	log.Info("started", "version", version.String(), "config", opts.file,
		"ports", len(cfg.Ports), "workers", cfg.Switch.Workers, "control", cfg.Control.Socket)
	notify(log, sd.SdNotifyReady)
	return s.run(ctx, reloads)
}

// A service is a switch that runs, and what serves its clients.
type service struct {
	opts    *options
	cfg     *config.Config // at the start
	running *config.Running
	log     hclog.Logger
	d       *daemon.Daemon

	control, metrics, status optional // listeners

	// Set by run.
	api         *control.Server
	config      *daemon.Configuration
	stopServing context.CancelFunc // stops the servers alone
	served      chan struct{}      // closed when the servers have stopped
}

// run runs the switch and its servers until ctx is done or the switch ends by itself. It returns
// after everything has been stopped.
func (s *service) run(ctx context.Context, reloads <-chan os.Signal) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	s.stopServing, s.served = stopServing, make(chan struct{})
	s.config = daemon.NewConfiguration(s.d, s.opts.file, s.opts.flags, s.cfg, s.running)
	s.d.Confine(s.opts.file)
	go awaitReloads(ctx, reloads, s.config)
	s.api = control.NewServer(s.d.Backend(), s.config, s.log.Named("control"))
	s.api.HandOver(s.handOver)
	return together(ctx, stop,
		func(ctx context.Context) error {
			defer stop() // also stops the servers if the switch ends by itself
			return s.d.Run(ctx)
		},
		func(context.Context) error {
			defer close(s.served)
			return s.serve(serving, stop)
		},
		func(ctx context.Context) error {
			<-ctx.Done()
			notify(s.log, sd.SdNotifyStopping)
			return nil
		},
		func(ctx context.Context) error {
			feedWatchdog(ctx, s.d.Answer, s.log)
			return nil
		})
}

// serve serves clients until ctx is done, or one of the servers fails, which calls stop.
func (s *service) serve(ctx context.Context, stop context.CancelFunc) error {
	return together(ctx, stop,
		func(ctx context.Context) error {
			if s.control.Listener == nil {
				return nil
			}
			return s.api.Serve(ctx, s.control)
		},
		func(ctx context.Context) error {
			if s.metrics.Listener == nil {
				return nil
			}
			return metrics.Serve(ctx, s.metrics, s.d.Backend(), s.log.Named("metrics"))
		},
		func(ctx context.Context) error {
			if s.status.Listener == nil {
				return nil
			}
			return status.Serve(ctx, s.status, status.Config{
				API: s.api.ReadOnly(), Hosts: s.cfg.Control.StatusHosts, Logger: s.log.Named("status"),
			})
		})
}

// accessOf returns who may use the control socket.
func accessOf(cfg *config.Config) control.Access {
	a := cfg.Control.Access
	return control.Access{UID: a.UID, GID: a.GID, Mode: a.Mode}
}

// optional is a listener that need not be there.
type optional struct{ net.Listener }

func (o optional) Close() error {
	if o.Listener == nil {
		return nil
	}
	return o.Listener.Close()
}

// listenTCP listens for what is served on an address; "": nowhere.
func listenTCP(ctx context.Context, what, address string) (optional, error) {
	if address == "" {
		return optional{}, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return optional{}, fmt.Errorf("%s: cannot listen on %s: %w", what, address, usage.Reason(err))
	}
	return optional{l}, nil
}

// together runs functions concurrently until all have returned. The first failure stops the others.
func together(ctx context.Context, stop context.CancelFunc, fs ...func(context.Context) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(fs))
	for i, f := range fs {
		wg.Go(func() {
			if errs[i] = f(ctx); errs[i] != nil {
				stop()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
