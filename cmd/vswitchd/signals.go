package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

// Signals that end vswitchd and those that make it reload have a channel and a goroutine each:
// however many reloads are asked for, and however long one takes, the end is not held up.
//
// No signal is let go again before the process has ended: in its last moments, the default
// action of SIGHUP would be the end with another exit code.

// catchReloads returns a channel that tells of SIGHUP. Several that come while one reload is
// under way are one: the next reload reads the file as it is then.
func catchReloads() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}

// catchEnds returns a channel that tells of the signals which ask for the end.
func catchEnds() <-chan os.Signal {
	c := make(chan os.Signal, 2) // as many as are acted upon
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	return c
}

// awaitReloads reloads at each signal until ctx is done.
func awaitReloads(ctx context.Context, reloads <-chan os.Signal, r *reloader) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-reloads:
			_, _ = r.reload() // it logs what it did
		}
	}
}

// awaitEnd stops everything in order at the first signal, and at once at the second.
func awaitEnd(ends <-chan os.Signal, stop context.CancelFunc, log hclog.Logger) {
	log.Info("stopping", "signal", <-ends)
	stop()
	log.Error("stopped at once by a second signal", "signal", <-ends)
	os.Exit(exitFailed)
}
