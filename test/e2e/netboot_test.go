//go:build e2e && long

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// TestNetworkBoot boots guests from a server behind the uplink, with drivers other than Linux's:
// iPXE's in a BIOS, and UEFI's, which loads an iPXE that goes on using it.
func TestNetworkBoot(t *testing.T) {
	root, err := vm.Root()
	if err != nil {
		t.Fatal(err)
	}
	netboot := filepath.Join(root, "build", "lab", "tree", "netboot", "usr")
	here, there := swtest.NewNetns(t), swtest.NewNetns(t)
	swtest.NewVeth(t, here, "nic0", there, "far0")
	there.Run(t, "ip", "addr", "add", "10.0.0.9/24", "dev", "far0")
	s := swtest.Start(t, here, "[port.a]\n[uplink.lan]\ninterface = \"nic0\"\n")
	serveBoot(t, there, root, vm.Config{IPs: []string{"10.0.0.1/24"}})

	for _, c := range []struct {
		name, options string
		args          func(t *testing.T) []string
	}{
		{name: "BIOS"}, // QEMU gives the device a ROM with iPXE
		{name: "UEFI", options: ",romfile=", args: func(t *testing.T) []string {
			vars, err := os.ReadFile(filepath.Join(netboot, "share/OVMF/OVMF_VARS_4M.fd"))
			if err != nil {
				t.Fatal(err)
			}
			flash := "if=pflash,format=raw,unit="
			return []string{
				"-drive", flash + "0,readonly=on,file=" + filepath.Join(netboot, "share/OVMF/OVMF_CODE_4M.fd"),
				"-drive", flash + "1,file=" + writeFile(t, filepath.Join(t.TempDir(), "vars"), string(vars)),
				"-device", "virtio-rng-pci", // newer ones do not use the network without
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			config := vm.Config{
				Name: "a", Socket: s.Socket("a"), IPs: []string{"10.0.0.1/24"},
				NetworkBoot: true, MemoryMiB: 512, DeviceOptions: "bootindex=1" + c.options,
			}
			if c.args != nil {
				config.ExtraArgs = c.args(t)
			}
			// The guest before this one counts as a reset when its end has been seen.
			swtest.Until(t, "the port listens", func() bool { return s.Port(t, "a").State == "listening" })
			before := s.Port(t, "a").Counters.Resets.Total()
			a, err := vm.Launch(ctx, config)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if err := a.WaitReady(ctx); err != nil {
				t.Fatalf("%v\nport: %+v", err, s.Port(t, "a").Counters)
			}
			mustPing(t, ctx, a, "10.0.0.9")
			nsPing(t, there, "10.0.0.1", "-c", "50")
			p := s.Port(t, "a")
			t.Logf("%d frames, %d bytes to the guest", p.Counters.TxFrames, p.Counters.TxBytes)
			if p.Counters.Resets.Total() != before {
				t.Errorf("the port was reset: %s, %v", p.LastError, p.Counters.Resets)
			}
		})
	}
}

// serveBoot has a namespace serve what a guest boots: addresses and iPXE for UEFI by DHCP and TFTP,
// the kernel by HTTP, whose parameters are those of a guest.
func serveBoot(t *testing.T, ns *swtest.Netns, root string, guest vm.Config) {
	t.Helper()
	if err := vm.BuildImage(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	kernels, err := filepath.Glob(filepath.Join(root, "build/kernel/boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		t.Fatalf("kernels: %v, %v", kernels, err)
	}
	for name, from := range map[string]string{
		"kernel":      kernels[0],
		"initramfs":   filepath.Join(root, "build/guest/initramfs"),
		"snponly.efi": filepath.Join(root, "build/lab/tree/netboot/usr/lib/ipxe/snponly.efi"),
	} {
		if err := os.Symlink(from, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	const server = "http://10.0.0.9/"
	writeFile(t, filepath.Join(dir, "boot.ipxe"), fmt.Sprintf("#!ipxe\nkernel %[1]skernel initrd=initramfs %[2]s\ninitrd %[1]sinitramfs\nboot\n",
		server, guest.KernelParams()))
	serveDHCP(t, ns, map[string]string{"far0": "10.0.0.100,10.0.0.199"}, "--enable-tftp", "--tftp-root="+dir, "--dhcp-match=set:ipxe,175",
		"--dhcp-boot=tag:ipxe,"+server+"boot.ipxe", "--dhcp-boot=tag:!ipxe,snponly.efi")
	start(t, ns.Command("busybox", "httpd", "-f", "-p", "80", "-h", dir))
}
