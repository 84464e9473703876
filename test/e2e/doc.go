// Package e2e has the end-to-end tests: vswitchd as a process, guests in real QEMU, front-ends of
// real DPDK, uplinks on veth pairs in separate namespaces. They need root and what `make lab` gets,
// and run by `make e2e`.
package e2e
