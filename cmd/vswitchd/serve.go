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
	err := start(ctx, opts, cfg, running, log, reloads)
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
	// Open the control socket first: if another vswitchd listens on it, nothing else may be
	// changed.
	var l net.Listener
	if cfg.Control.Socket != "" {
		var err error
		if l, err = control.Listen(ctx, cfg.Control.Socket, control.Access(cfg.Control.Access)); err != nil {
			return err
		}
		defer l.Close()
	}
	ml, err := listenTCP(ctx, "metrics", cfg.Control.Metrics)
	if err != nil {
		return err
	}
	defer ml.Close()
	sl, err := listenTCP(ctx, "status page", cfg.Control.Status)
	if err != nil {
		return err
	}
	defer sl.Close()
	d, err := daemon.NewContext(ctx, cfg, log)
	if err != nil {
		return err
	}
	log.Info("started", "version", version.String(), "config", opts.file,
		"ports", len(cfg.Ports), "workers", cfg.Switch.Workers, "control", cfg.Control.Socket)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c := daemon.NewConfiguration(d, opts.file, opts.flags, cfg, running)
	go awaitReloads(ctx, reloads, c)
	api := control.NewServer(d.Backend(), c, log.Named("control"))
	notify(log, sd.SdNotifyReady)
	return together(ctx, stop,
		func(ctx context.Context) error {
			defer stop() // also stops the servers if the switch ends by itself
			return d.Run(ctx)
		},
		func(ctx context.Context) error {
			if l == nil {
				return nil
			}
			return api.Serve(ctx, l)
		},
		func(ctx context.Context) error {
			if ml.Listener == nil {
				return nil
			}
			return metrics.Serve(ctx, ml, d.Backend(), log.Named("metrics"))
		},
		func(ctx context.Context) error {
			if sl.Listener == nil {
				return nil
			}
			return status.Serve(ctx, sl, status.Config{
				API: api.ReadOnly(), Hosts: cfg.Control.StatusHosts, Logger: log.Named("status"),
			})
		},
		func(ctx context.Context) error {
			<-ctx.Done()
			notify(log, sd.SdNotifyStopping)
			return nil
		},
		func(ctx context.Context) error {
			feedWatchdog(ctx, d.Answer, log)
			return nil
		})
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
