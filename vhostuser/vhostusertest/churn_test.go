package vhostusertest

import (
	"context"
	"strings"
	"testing"
	"time"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/loop"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// A lazy device works on its ring only when the session calls, and loses a request at the change
// that it is configured for.
type lazy struct {
	*loop.Device // for everything that does not concern rings
	queue        *virtqueue.Queue
	enabled      bool
	loses        string // the change that makes it lose a request
}

// Sequential returns false: otherwise a restart of the ring would find the lost request.
func (d *lazy) Sequential() bool { return false }

func (d *lazy) RingStarted(r vhostuser.Ring) error {
	d.queue, d.enabled = r.Queue, r.Enabled
	d.work("start")
	return nil
}

func (d *lazy) RingStopped(int) {
	d.work("stop")
	d.queue = nil
}

func (d *lazy) RingEnabled(_ int, on bool) {
	d.enabled = on
	d.work("enable")
}

func (d *lazy) Quiesce() (resume func()) {
	d.work("quiesce")
	return func() {}
}

func (d *lazy) work(change string) {
	if d.queue == nil || !d.enabled {
		return
	}
	b := virtqueue.NewBatch(16)
	n, err := d.queue.Pop(b, 16)
	for i := range n {
		if i > 0 || d.loses != change {
			d.queue.Complete(&b.Chains[i], 0)
		}
	}
	if err == nil {
		d.queue.Flush()
	}
}

func TestChurnFindsWhatIsLost(t *testing.T) {
	for loses, want := range map[string]string{
		"":        "",
		"quiesce": "a new eventfd",
		"stop":    "stopped and restarted",
		"enable":  "disabled and enabled",
	} {
		t.Run("loses="+loses, func(t *testing.T) {
			dev := &lazy{Device: loop.New(loop.Config{Vrings: 1, Handle: func(*loop.Request) error { return nil }}), loses: loses}
			fe, conn, err := Pair()
			must(t, err)
			defer fe.Close()
			go vhostuser.Serve(context.Background(), conn, dev, vhostuser.Options{})
			must(t, fe.Handshake(1<<virtqueue.FeatureVersion1|1<<vhostuser.FeatureProtocolFeatures, ^uint64(0)))
			mem, err := fe.NewMemory(1 << 20)
			must(t, err)
			must(t, fe.ShareMemory())
			r, err := fe.NewRing(mem, 0, 8, 4096)
			must(t, err)
			must(t, fe.StartRing(r))
			c := churn{f: fe, r: r, out: make(map[uint16]bool), timeout: 100 * time.Millisecond}
			if loses == "" {
				c.timeout = Timeout
			}
			request := r.Driver.Alloc(8)
			err = c.run(40, func() (readable, writable []virtqueuetest.Buf) {
				return []virtqueuetest.Buf{request}, nil
			})
			switch {
			case want == "" && err != nil:
				t.Error(err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%v, want an error that says %q", err, want)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
