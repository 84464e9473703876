package vm

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func configArgs(t *testing.T, c Config, accel string) string {
	t.Helper()
	c.setDefaults()
	return strings.Join(c.args("/dir", accel, image{kernel: "kernel", initramfs: "initramfs"}), " ")
}

func TestArgsOfVersions(t *testing.T) {
	for _, test := range []struct {
		name   string
		config Config
		accel  string
		want   []string
	}{
		{"client", Config{Socket: "/s"}, "tcg",
			[]string{"-chardev socket,id=net0,path=/s -netdev vhost-user,id=net0,chardev=net0,queues=1"}},
		{"server", Config{Socket: "/s", Role: Server, Reconnect: time.Second}, "tcg",
			[]string{"socket,id=net0,path=/s,server=on,wait=off -netdev"}},
		{"reconnect", Config{Socket: "/s", Reconnect: 250 * time.Millisecond}, "tcg",
			[]string{"path=/s,reconnect-ms=250 "}},
		{"reconnect in whole seconds, rounded up", Config{QEMU: QEMU72, Socket: "/s", Reconnect: 250 * time.Millisecond}, "tcg",
			[]string{"path=/s,reconnect=1 "}},
		{"7.2 emulated has no MSI-X", Config{QEMU: QEMU72, Queues: 2}, "tcg",
			[]string{"mq=on,vectors=0", "queues=2", "-cpu qemu64,-cx16"}},
		{"7.2 under KVM has", Config{QEMU: QEMU72, Queues: 2}, "kvm",
			[]string{"mq=on,vectors=6", "-cpu qemu64 "}},
		{"device options win", Config{Queues: 2, MAC: "52:54:00:00:00:01", DeviceOptions: "vectors=3,packed=on,mq=off"}, "tcg",
			[]string{"-device virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:00:00:01,romfile=,mq=off,vectors=3,packed=on"}},
		{"guest's parameters", Config{IPs: []string{"10.0.0.1/24", "fd00::1/64"}, MTU: 9000, IperfServer: true}, "tcg",
			[]string{"vs.ip=10.0.0.1/24,fd00::1/64 vs.mtu=9000 vs.iperf=1 "}},
		{"memory", Config{MemoryMiB: 512, MaxMemoryMiB: 2048}, "tcg",
			[]string{"-m 512M,slots=8,maxmem=2048M -object memory-backend-memfd,id=m,share=on,size=512M"}},
		{"another network device", Config{Netdev: "stream,id=net0,addr.type=unix,addr.path=/n"}, "tcg",
			[]string{"-netdev stream,id=net0,addr.type=unix,addr.path=/n -device"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := configArgs(t, test.config, test.accel)
			for _, want := range test.want {
				if !strings.Contains(got+" ", want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
		})
	}
}

func TestCommandInNamespace(t *testing.T) {
	for netns, want := range map[string]string{"": "/qemu -name guest ", "ns": "ip netns exec ns /qemu -name guest "} {
		c := Config{Netns: netns}
		c.setDefaults()
		cmd := c.command("/qemu", "/dir", "tcg", image{kernel: "kernel", initramfs: "initramfs"})
		if got := strings.Join(cmd.Args, " "); !strings.HasPrefix(got, want) {
			t.Errorf("namespace %q: %s", netns, got)
		}
	}
}

func TestMACFollowsTheName(t *testing.T) {
	a, again, b := Config{Name: "a"}, Config{Name: "a"}, Config{Name: "b"}
	for _, c := range []*Config{&a, &again, &b} {
		c.setDefaults()
	}
	if a.MAC != again.MAC || a.MAC == b.MAC {
		t.Errorf("a: %s and %s, b: %s", a.MAC, again.MAC, b.MAC)
	}
}

func TestOptionsAreReplacedInPlace(t *testing.T) {
	got := options{{"a", "1"}, {"b", "2"}}.set("b=3,c=4,a=5")
	if want := (options{{"a", "5"}, {"b", "3"}, {"c", "4"}}); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
