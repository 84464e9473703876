package main

import (
	"context"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
)

// notify sends a state to systemd if vswitchd was started by systemd (sd_notify(3)).
func notify(log hclog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Warn("cannot notify systemd", "error", err)
	}
}

// feedWatchdog tells systemd that vswitchd works, until ctx is done: three times in the interval of
// WatchdogSec=, each time after answer has returned. When answer does not return in time, systemd
// ends vswitchd by SIGABRT, on which the Go runtime prints the stack of every goroutine, and starts
// it again. Without a watchdog (sd_watchdog_enabled(3)) feedWatchdog returns at once.
func feedWatchdog(ctx context.Context, answer func(), log hclog.Logger) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("cannot read the watchdog's interval", "error", err)
		return
	}
	if interval <= 0 {
		return
	}
	tick := time.NewTicker(max(interval/3, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			answer()
			notify(log, sd.SdNotifyWatchdog)
		}
	}
}
