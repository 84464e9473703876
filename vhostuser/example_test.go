package vhostuser_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// console is a device with a single ring: what a driver puts into it is written to
// standard output.
type console struct {
	session *vhostuser.Session

	mu    sync.Mutex // held while the ring or guest memory is used
	ring  *vhostuser.Ring
	ended sync.WaitGroup
}

func (c *console) Attach(s *vhostuser.Session) { c.session = s }
func (c *console) Features() uint64            { return 1 << virtqueue.FeatureVersion1 }
func (c *console) QueueNum() uint64            { return 1 }
func (c *console) MaxVrings() int              { return 1 }
func (c *console) FeaturesSet(uint64)          {}
func (c *console) RingEnabled(int, bool)       {} // a real device looks at this

func (c *console) ProtocolFeatures() uint64 {
	return 1<<vhostuser.ProtocolFeatureReplyAck | 1<<vhostuser.ProtocolFeatureConfigureMemSlots
}

// Quiesce keeps the device's goroutine out of the ring until resume.
func (c *console) Quiesce() (resume func()) {
	c.mu.Lock()
	return c.mu.Unlock
}

// RingStarted starts the goroutine that works on the ring. It needs a kick file
// descriptor of its own, to be able to kick itself.
func (c *console) RingStarted(r vhostuser.Ring) error {
	kick, err := unix.Dup(r.Kick)
	if err != nil {
		return err
	}
	c.ring = &r
	c.ended.Add(1)
	go c.run(kick)
	return nil
}

// RingStopped returns when that goroutine has ended.
func (c *console) RingStopped(int) {
	c.mu.Lock()
	kick := c.ring.Kick
	c.ring = nil
	c.mu.Unlock()
	_ = vhostusertest.Signal(kick)
	c.ended.Wait()
}

func (c *console) run(kick int) {
	defer c.ended.Done()
	defer unix.Close(kick)
	batch := virtqueue.NewBatch(16)
	for c.work(batch) {
		_ = vhostusertest.WaitEventFD(kick, vhostusertest.Timeout)
	}
}

// work writes out all that there is, and reports whether to go on.
func (c *console) work(batch *virtqueue.Batch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.ring != nil {
		q := c.ring.Queue
		batch.Reset()
		n, err := q.Pop(batch, 16)
		if err != nil {
			c.session.Fail(err) // does not wait, so it may be called here
			return false
		}
		for _, chain := range batch.Chains {
			for _, piece := range chain.Readable {
				fmt.Printf("guest says: %s\n", piece)
			}
			q.Complete(&chain, 0)
		}
		q.Flush()
		if n == 0 && !q.Arm() {
			return true
		}
	}
	return false
}

// A device that is served at a socket, and the guest that uses it.
func Example() {
	dir, err := os.MkdirTemp("", "vhostuser")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "console.sock")

	listener, err := vhostuser.Listen(path, vhostuser.ListenOptions{Mode: 0o660})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listener.Close()
	served := make(chan error)
	go func() {
		conn, err := listener.Connect(context.Background())
		if err == nil {
			err = vhostuser.Serve(context.Background(), conn, new(console), vhostuser.Options{})
		}
		served <- err
	}()

	if err := guest(path); err != nil {
		fmt.Println(err)
	}
	if err := <-served; errors.Is(err, vhostuser.ErrDisconnected) {
		fmt.Println("guest has left")
	} else {
		fmt.Println(err)
	}
	// Output:
	// guest says: hello, world
	// guest has left
}

// guest is what QEMU and the driver in a guest do.
func guest(path string) error {
	fe, err := vhostusertest.Dial(path)
	if err != nil {
		return err
	}
	defer fe.Close()
	if err := fe.Handshake(^uint64(0), ^uint64(0)); err != nil {
		return err
	}
	mem, err := fe.NewMemory(1 << 20)
	if err != nil {
		return err
	}
	if err := fe.ShareMemory(); err != nil {
		return err
	}
	ring, err := fe.NewRing(mem, 0, 16, 4096)
	if err != nil {
		return err
	}
	if err := fe.StartRing(ring); err != nil {
		return err
	}
	buf := ring.Driver.Alloc(12)
	copy(ring.Driver.Bytes(buf), "hello, world")
	if _, err := ring.Driver.AddChain([]virtqueuetest.Buf{buf}, nil); err != nil {
		return err
	}
	ring.Driver.Publish()
	if err := ring.Kick(); err != nil {
		return err
	}
	for { // until the device has used the buffer
		if _, _, used := ring.Driver.PollUsed(); used {
			break
		}
		if !ring.Driver.Arm() {
			if err := ring.WaitCall(); err != nil {
				return err
			}
		}
	}
	_, err = fe.StopRing(ring)
	return err
}
