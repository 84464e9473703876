//go:build e2e

package e2e

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestMigration moves a running guest to another QEMU on another port while a second guest sends to
// it. What it received meanwhile lies, unread, in socket buffers: pages that vswitchd has written
// and, if it did not log them, that were not moved.
func TestMigration(t *testing.T) {
	nothing := func(*testing.T, *swtest.Switch) {}
	for name, options := range map[string]string{"split": "", "packed": "packed=on"} {
		t.Run(name, func(t *testing.T) { migrate(t, options, nothing) })
	}
	t.Run("taken over", func(t *testing.T) {
		migrate(t, "packed=on", func(t *testing.T, s *swtest.Switch) { s.TakeOver(t) })
	})
}

// migrate calls meanwhile when the migration is under way.
func migrate(t *testing.T, options string, meanwhile func(*testing.T, *swtest.Switch)) {
	ctx := testContext(t)
	s := swtest.Start(t, nil, "[port.a1]\n[port.a2]\n[port.b]\n")
	there := guestConfig(s, vm.QEMU10, "a1", 1)
	there.DeviceOptions = options
	vms := vm.StartAll(t, there, guestConfig(s, vm.QEMU10, "b", 2))
	from, b := vms[0], vms[1]

	// The same guest, the same device, another port.
	there.Name, there.MAC, there.Socket, there.Incoming = "a2", from.Config.MAC, s.Socket("a2"), true
	to := vm.Start(t, there)
	uri := "unix:" + filepath.Join(s.Dir, "migration")
	qmp := func(m *vm.VM, command string, arguments any) json.RawMessage {
		t.Helper()
		answer, err := m.Execute(ctx, command, arguments)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	qmp(to, "migrate-incoming", map[string]string{"uri": uri})

	// A receiver that does not read, with buffers for all that comes. (In a new session: the kernel
	// hangs up stopped processes that a shell leaves behind.)
	from.MustRun(t, `sysctl -q -w net.core.rmem_max=67108864 && sysctl -q -w net.ipv4.tcp_rmem="4096 67108864 67108864"
		setsid sh -c 'tail -f /dev/null | nc -l -p 5001 >/tmp/got' >/dev/null 2>&1 </dev/null &
		until grep -qi ":1389 .* 0A " /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done; kill -STOP $(pidof nc)`)
	sum := strings.Fields(b.MustRun(t, "dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null; md5sum /tmp/data"))[0]

	type result struct {
		r   vm.IperfReport
		err error
	}
	stream, sent := make(chan result, 1), make(chan error, 1)
	go func() {
		r, err := b.Iperf(ctx, "10.0.0.1", "--time", "10", "--bitrate", "20M")
		stream <- result{r, err}
	}()
	before := s.Port(t, "a1").Counters.TxFrames
	swtest.Until(t, "frames flow", func() bool { return s.Port(t, "a1").Counters.TxFrames > before+500 })

	// Towards the end of the first copy the migration is slowed down so much that it cannot end;
	// what comes after that copy gets there only if it is logged.
	type progress struct {
		Status   string `json:"status"`
		Downtime int    `json:"downtime"`
		Total    int    `json:"total-time"`
		Error    string `json:"error-desc"`
		RAM      struct {
			Remaining int `json:"remaining"`
			Syncs     int `json:"dirty-sync-count"`
		} `json:"ram"`
	}
	query := func() (p progress) {
		t.Helper()
		if err := json.Unmarshal(qmp(from, "query-migrate", nil), &p); err != nil {
			t.Fatal(err)
		}
		if p.Status == "failed" {
			t.Fatalf("migration failed: %s", p.Error)
		}
		return p
	}
	qmp(from, "migrate-set-parameters", map[string]int{"max-bandwidth": 16 << 20, "downtime-limit": 1})
	qmp(from, "migrate", map[string]string{"uri": uri})
	swtest.Until(t, "most memory has been copied", func() bool {
		left := query().RAM.Remaining
		return left > 0 && left < 8<<20
	})
	qmp(from, "migrate-set-parameters", map[string]int{"max-bandwidth": 2 << 20})
	swtest.Until(t, "all memory has been copied once", func() bool { return query().RAM.Syncs >= 2 })
	go func() {
		_, err := b.Output(ctx, "nc 10.0.0.1 5001 </tmp/data")
		sent <- err
	}()
	unread := func(m *vm.VM) int {
		n, _ := strconv.Atoi(strings.TrimSpace(m.MustRun(t, "netstat -tn | awk '/:5001/ { print $2 }'")))
		return n
	}
	swtest.Until(t, "much lies in socket buffers", func() bool { return unread(from) > 4<<20 })
	if p := query(); p.Status != "active" {
		t.Fatalf("the migration is %s before it was allowed to end", p.Status)
	}
	meanwhile(t, s)
	qmp(from, "migrate-set-parameters", map[string]int{"max-bandwidth": 1 << 30, "downtime-limit": 1000})
	var status progress
	swtest.Until(t, "the guest has moved", func() bool { status = query(); return status.Status == "completed" })
	t.Logf("moved in %d ms, down for %d ms", status.Total, status.Downtime)
	from.Close()
	if err := to.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if to.Boot() != from.Boot() {
		t.Error("the guest has rebooted")
	}
	if r := <-stream; r.err != nil {
		t.Errorf("the TCP connection did not survive: %v", r.err)
	} else {
		t.Logf("iperf3 across it: %.0f Mbit/s, %d retransmits", r.r.BitsPerSecond/1e6, r.r.Retransmits)
	}

	t.Logf("%d bytes had come before anybody read", unread(to))
	to.MustRun(t, "kill -CONT $(pidof nc)")
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	to.MustRun(t, "while [ $(stat -c %s /tmp/got) -lt 16777216 ]; do sleep 0.05; done")
	if got := strings.Fields(to.MustRun(t, "md5sum /tmp/got"))[0]; got != sum {
		t.Error("what the guest received is not what was sent")
	}
	mustPing(t, ctx, b, "10.0.0.1")
	s.WaitState(t, "a1", control.StateListening)
	for _, e := range s.FDB(t) {
		if e.MAC == there.MAC && e.Port != "a2" {
			t.Errorf("the FDB has the guest at port %s", e.Port)
		}
	}
	for _, port := range []string{"a1", "a2"} {
		if e := s.Port(t, port).LastError; e != "" && port == "a2" {
			t.Errorf("port %s: %s", port, e)
		}
	}
}
