package vhostuser_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/loop"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue/virtqueuetest"
)

// A device that is served at a socket, and a guest that uses it.
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

	// A device with a single ring: bytes that a driver puts into the ring are written to
	// standard output.
	console := loop.New(loop.Config{Vrings: 1, Handle: func(req *loop.Request) error {
		text, err := io.ReadAll(&req.Reader)
		fmt.Printf("guest says: %s\n", text)
		return err
	}})
	served := make(chan error)
	go func() {
		conn, err := listener.Connect(context.Background())
		if err == nil {
			err = vhostuser.Serve(context.Background(), conn, console, vhostuser.Options{})
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

// guest does the work of QEMU and of the driver in a guest.
func guest(path string) error {
	fe, err := vhostusertest.Dial(path)
	if err != nil {
		return err
	}
	defer fe.Close()
	if err := fe.Handshake(^uint64(1<<vhostuser.FeatureLogAll), ^uint64(0)); err != nil {
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
