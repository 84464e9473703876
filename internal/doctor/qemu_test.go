package doctor

import (
	"strings"
	"testing"
)

func TestDeviceOfACommandLine(t *testing.T) {
	const socket = "/run/vswitchd/vm1.sock"
	for name, tt := range map[string]struct {
		args string // separated by blanks
		want Device
	}{
		"plain": {
			"qemu-system-x86_64 -object memory-backend-memfd,id=m,size=1G,share=on -machine q35,memory-backend=m -chardev socket,id=c,path=" + socket + ",reconnect-ms=100 -netdev vhost-user,id=n,chardev=c -device virtio-net-pci,netdev=n,rx_queue_size=1024",
			Device{Reconnect: true, RxQueueSize: "1024", SharedMemory: "on"},
		},
		"not shared": {
			"/usr/bin/kvm -object memory-backend-file,id=m,size=1G -chardev socket,path=" + socket + ",id=c,reconnect=0",
			Device{SharedMemory: "off"},
		},
		"no backend, two dashes, listens": {
			"qemu-system-arm --chardev socket,id=c,path=" + socket + ",server,wait=off --netdev type=vhost-user,id=n,chardev=c,queues=4 --device virtio-net-device,netdev=n,mq=on",
			Device{Server: true, Queues: "4", MQ: "on", SharedMemory: "none"},
		},
		"libvirt": {
			`/usr/bin/qemu-system-x86_64 -object {"qom-type":"memory-backend-memfd","id":"pc.ram","share":true,"size":1073741824} ` +
				`-chardev socket,id=charnet0,path=` + socket + `,reconnect=1 -netdev {"type":"vhost-user","chardev":"charnet0","queues":2,"id":"hostnet0"} ` +
				`-device {"driver":"virtio-net-pci","mq":true,"rx_queue_size":1024,"netdev":"hostnet0","id":"net0"}`,
			Device{Reconnect: true, Queues: "2", MQ: "true", RxQueueSize: "1024", SharedMemory: "on"},
		},
		"another chardev first": {
			"qemu-system-x86_64 -chardev socket,id=x,path=/a,,b,reconnect=1 -chardev socket,id=c,path=" + socket,
			Device{SharedMemory: "none"},
		},
	} {
		p := Process{PID: 7, Args: strings.Fields(tt.args)}
		tt.want.PID = 7
		if got := p.device(socket); got == nil || *got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestOtherProcessesHaveNoDevice(t *testing.T) {
	for _, args := range []string{
		"", "qemu-system-x86_64", "qemu-system-x86_64 -chardev", "socat - UNIX:/s", "grep qemu -chardev socket,id=c,path=/s",
		"qemu-system-x86_64 -chardev socket,id=c,path=/s2", "qemu-system-x86_64 -chardev {broken",
	} {
		p := Process{Args: strings.Fields(args)}
		if got := p.device("/s"); got != nil {
			t.Errorf("%q: %+v", args, got)
		}
	}
}
