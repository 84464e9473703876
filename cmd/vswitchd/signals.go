package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/daemon"
)

// The signals that stop vswitchd and those that trigger a reload have separate channels and
// goroutines, so that neither many reload requests nor a slow reload can delay the stop.
//
// signal.Stop is never called: while vswitchd is stopping, the default action of SIGHUP would
// terminate the process with another exit code.

// catchReloads returns a channel that receives SIGHUP. Several signals that arrive during a reload
// are merged into one, because the next reload reads the current contents of the file.
func catchReloads() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}

// catchEnds returns a channel that receives the signals that stop vswitchd.
func catchEnds() <-chan os.Signal {
	c := make(chan os.Signal, 2) // awaitEnd handles two signals
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	return c
}

// awaitReloads reloads at each signal until ctx is done.
func awaitReloads(ctx context.Context, reloads <-chan os.Signal, c *daemon.Configuration) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-reloads:
			_, _ = c.Reload() // logs its changes or errors itself
		}
	}
}

// awaitEnd starts an orderly stop at the first signal, and exits immediately at the second.
func awaitEnd(ends <-chan os.Signal, stop context.CancelFunc, log hclog.Logger) {
	log.Info("stopping", "signal", <-ends)
	stop()
	log.Error("stopped at once by a second signal", "signal", <-ends)
	os.Exit(exitFailed)
}
