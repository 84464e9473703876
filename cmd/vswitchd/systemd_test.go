package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// systemd is the end of NOTIFY_SOCKET that systemd has.
type systemd struct {
	t *testing.T
	*net.UnixConn
}

func newSystemd(t *testing.T) systemd {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "n"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return systemd{t, c}
}

// next returns the next notification.
func (s systemd) next() string {
	s.t.Helper()
	buf := make([]byte, 100)
	n, err := s.Read(buf)
	if err != nil {
		s.t.Fatalf("waiting for a notification: %v", err)
	}
	return string(buf[:n])
}

// The watchdog is fed only after vswitchd has answered.
func TestWatchdogIsFedByAnswers(t *testing.T) {
	s := newSystemd(t)
	t.Setenv("NOTIFY_SOCKET", s.LocalAddr().String())
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("WATCHDOG_USEC", "3000")
	ctx, stop := context.WithCancel(t.Context())
	var answers atomic.Int32
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		feedWatchdog(ctx, func() { answers.Add(1) }, hclog.NewNullLogger())
	}()
	for n := range int32(5) {
		if got := s.next(); got != "WATCHDOG=1" {
			t.Fatalf("notification %q", got)
		}
		if answers.Load() <= n {
			t.Fatalf("fed %d times after %d answers", n+1, answers.Load())
		}
	}
	stop()
	<-ended
}

// Without a watchdog there is nothing to feed.
func TestNoWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "")
	feedWatchdog(t.Context(), func() { t.Error("vswitchd was asked") }, hclog.NewNullLogger())
}

// A running vswitchd feeds systemd's watchdog.
func TestFeedsTheWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "30000")
	dir := t.TempDir()
	_, s := beginUnder(t, nil, "--port", "vm1="+filepath.Join(dir, "vm1.sock"), "--control", filepath.Join(dir, "c.sock"))
	for range 3 {
		if got := s.next(); got != "WATCHDOG=1" {
			t.Fatalf("notification %q", got)
		}
	}
}
