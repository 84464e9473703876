// Command rng serves a virtio entropy device (virtio 1.2, section 5.4) at a socket:
//
//	rng /run/rng.sock
//	qemu-system-x86_64 ... -chardev socket,id=c,path=/run/rng.sock -device vhost-user-rng-pci,chardev=c
//
// The guest's memory has to be shared, as for every vhost-user device.
package main

import (
	"context"
	"crypto/rand"
	"io"
	"log"
	"os"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/loop"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: rng SOCKET")
	}
	listener, err := vhostuser.Listen(os.Args[1], vhostuser.ListenOptions{Mode: 0o600})
	if err != nil {
		log.Fatal(err)
	}
	dev := loop.New(loop.Config{Vrings: 1, Handle: fill})
	for {
		conn, err := listener.Connect(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		err = vhostuser.Serve(context.Background(), conn, dev, vhostuser.Options{})
		log.Print("front-end disconnected: ", err)
	}
}

// fill writes random bytes to the driver's buffers: at most 64 KiB at a time, so that a driver
// cannot occupy the device for long with one request.
func fill(req *loop.Request) error {
	_, err := io.CopyN(&req.Writer, rand.Reader, int64(min(req.Writer.Len(), 64<<10)))
	return err
}
