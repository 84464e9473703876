package vhostuser_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"vswitchd/vhostuser"
)

// With the default times, attempts come 0, 0.1, 0.3, 0.7, 1.5 and 3.1 s after the first one, and
// then every 3 s. (The clock is the bubble's.)
func TestDialerBacksOff(t *testing.T) {
	for _, c := range []struct{ listens, connects time.Duration }{
		{0, 0},
		{50 * time.Millisecond, 100 * time.Millisecond},
		{400 * time.Millisecond, 700 * time.Millisecond},
		{2 * time.Second, 3100 * time.Millisecond},
		{4 * time.Second, 6100 * time.Millisecond},
		{time.Hour, time.Hour + 100*time.Millisecond},
	} {
		path := filepath.Join(t.TempDir(), "sock")
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			listening := make(chan net.Listener, 1)
			listen := func() {
				time.Sleep(c.listens)
				ln, err := net.Listen("unix", path)
				if err != nil {
					t.Error(err)
				}
				listening <- ln
			}
			if c.listens == 0 {
				listen()
			} else {
				go listen()
			}
			d := &vhostuser.Dialer{Path: path}
			conn, err := d.Connect(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if got := time.Since(began); got != c.connects {
				t.Errorf("a front-end that listens after %v is connected to after %v, want %v", c.listens, got, c.connects)
			}
			_ = conn.Close()

			// A front-end that hangs up at once is not connected to again at once, and
			// the interval between attempts is short again.
			again := time.Now()
			if conn, err = d.Connect(context.Background()); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(again); c.listens == 0 && got != 100*time.Millisecond {
				t.Errorf("connected again after %v", got)
			}
			_ = conn.Close()
			_ = (<-listening).Close()
		})
	}
}
