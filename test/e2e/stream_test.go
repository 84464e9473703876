//go:build e2e && long

package e2e

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"vswitchd/test/vm"
)

// A stream is one TCP connection from a guest to another, with contents that either end sums up by
// itself. TCP's checksum alone would not do: guests that negotiated offloads do not look at it.
type stream struct {
	from, to *vm.VM
	port     int64
	sent     chan output
	received chan output
}

var streamPorts atomic.Int64

// startStream starts a stream of at most blocks of a MiB, or without end if that is 0.
func startStream(ctx context.Context, from, to *vm.VM, addr string, blocks int) *stream {
	s := &stream{from: from, to: to, port: 7000 + streamPorts.Add(1), sent: make(chan output, 1), received: make(chan output, 1)}
	limit := "none"
	if blocks > 0 {
		limit = strconv.Itoa(blocks)
	}
	// nc ends with its standard input, which therefore is a FIFO that it holds open itself.
	listen := fmt.Sprintf(`mkfifo /tmp/in.%[1]d && exec 3<>/tmp/in.%[1]d && nc -l -p %[1]d <&3 | md5sum`, s.port)
	send := fmt.Sprintf(`
		head -c 1048576 /dev/urandom >/tmp/block.%[1]d && mkfifo /tmp/out.%[1]d || exit
		md5sum </tmp/out.%[1]d >/tmp/sum.%[1]d &
		n=0
		while [ ! -e /tmp/stop.%[1]d ] && [ $n != %[3]s ]; do
			n=$((n+1)); echo $n; cat /tmp/block.%[1]d || break
		done | tee /tmp/out.%[1]d | nc %[2]s %[1]d
		wait; cat /tmp/sum.%[1]d`, s.port, addr, limit)
	go run(ctx, to, listen, s.received)
	go func() {
		if _, err := to.Output(ctx, fmt.Sprintf("until netstat -ltn | grep -q ':%d '; do sleep 0.02; done", s.port)); err != nil {
			s.sent <- output{err: err}
			return
		}
		run(ctx, from, send, s.sent)
	}()
	return s
}

// stop ends a stream that has no end.
func (s *stream) stop(t *testing.T) {
	t.Helper()
	s.from.MustRun(t, fmt.Sprintf("touch /tmp/stop.%d", s.port))
}

// wait waits for the end of a stream, and wants to have received what was sent.
func (s *stream) wait(t *testing.T) {
	t.Helper()
	sent, received := <-s.sent, <-s.received
	for _, o := range []output{sent, received} {
		if o.err != nil {
			t.Fatalf("stream from %s to %s: %v", s.from.Config.Name, s.to.Config.Name, o.err)
		}
	}
	if sent.text != received.text || len(sent.text) < 32 {
		t.Errorf("stream from %s to %s: %q was sent, %q received", s.from.Config.Name, s.to.Config.Name, sent.text, received.text)
	}
}
