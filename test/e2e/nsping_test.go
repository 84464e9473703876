//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// nsPing pings from a namespace, and wants every reply.
func nsPing(t *testing.T, ns *swtest.Netns, addr string, args ...string) {
	t.Helper()
	before := echoReplies(t, ns)
	r, err := vm.ParsePing(ns.Run(t, "ping", append([]string{"-c", "20", "-i", "0.01", "-W", "10", "-q", addr}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	waitReplies(t, ns, before+r.Sent)
}

// pingMeanwhile pings addresses from a namespace until the function is called that it returns,
// which wants every reply.
func pingMeanwhile(t *testing.T, ns *swtest.Netns, addrs ...string) (stop func(t *testing.T)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var sent atomic.Int64
	before := echoReplies(t, ns)
	for _, addr := range addrs {
		wg.Go(func() {
			for ctx.Err() == nil {
				// Without any reply it exits with an error, and has a report all the same.
				out, _ := ns.Command("ping", "-c", "20", "-i", "0.05", "-W", "10", "-q", addr).CombinedOutput()
				r, err := vm.ParsePing(string(out))
				if err != nil {
					t.Errorf("the namespace pings %s: %v", addr, err)
					return
				}
				sent.Add(int64(r.Sent))
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return func(t *testing.T) {
		t.Helper()
		cancel()
		wg.Wait()
		waitReplies(t, ns, before+int(sent.Load()))
	}
}

// waitReplies waits until a namespace has received so many echo replies. ping itself does not wait
// for late ones: see [vm.VM.PingAll].
func waitReplies(t *testing.T, ns *swtest.Netns, n int) {
	t.Helper()
	swtest.Until(t, fmt.Sprintf("the namespace has received %d echo replies", n), func() bool { return echoReplies(t, ns) >= n })
}

// echoReplies returns how many echo replies a namespace has received.
func echoReplies(t *testing.T, ns *swtest.Netns) int {
	t.Helper()
	n, err := vm.ParseEchoReplies(ns.Run(t, "cat", "/proc/net/snmp", "/proc/net/snmp6"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
