// Package vm boots and drives QEMU guests for tests and demos. [UML] has a guest run in User Mode
// Linux instead.
//
// A guest is the image of package guest: a Linux with an agent that runs commands. [Start] builds
// the image if its parts have changed, boots a guest with one virtio-net device, by default on a
// vhost-user socket, and returns when the guest has its addresses:
//
//	a := vm.Start(t, vm.Config{Name: "a", Socket: "/run/vswitchd/a.sock", IPs: []string{"10.0.0.1/24"}})
//	b := vm.Start(t, vm.Config{Name: "b", Socket: "/run/vswitchd/b.sock", IPs: []string{"10.0.0.2/24"}, IperfServer: true})
//	a.MustRun(t, "ping -c 1 10.0.0.2")
//	report, err := a.Iperf(ctx, "10.0.0.2", "--reverse")
//
// Waiting is for conditions (the agent's answer, a QMP event, the end of a process), bounded by the
// caller's context. What is left of a guest, its process and its files, goes when the test ends; so
// does a QEMU whose test binary dies.
//
// The tools come from `make lab`. The environment variable ACCEL chooses how guests run: kvm, tcg,
// or auto, the default, which is kvm where a guest is seen to come up under it, see [Accel].
package vm
