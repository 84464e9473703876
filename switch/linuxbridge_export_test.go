//go:build e2e && linuxbridge

package vswitch

// What tests of both packages in this folder need to compare the switch with the kernel.
var (
	StayOnOneCPU   = stayOnOneCPU
	QuietNamespace = quietNamespace
	OpenPeer       = openPeer
	ReceiveTagged  = receiveTagged
)
