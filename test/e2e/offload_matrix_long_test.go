//go:build e2e && long

package e2e

import "testing"

// TestOffloadMatrixOfPartialOffloads crosses guests that have some offloads and not others.
func TestOffloadMatrixOfPartialOffloads(t *testing.T) {
	const (
		takesNone = "guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,guest_uso4=off,guest_uso6=off"
		sendsNone = "csum=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,host_uso=off"
	)
	runOffloadMatrix(t, []offloadKind{
		{name: "all", sends: true, takes: true},
		{name: "checksums", port: "offloads = [\"csum\"]\n"},
		{name: "sends", options: takesNone, sends: true},
		{name: "takes", options: sendsNone, takes: true},
		// Without mergeable buffers a guest that takes long frames has only buffers of 64 KiB, and
		// others have only short ones.
		{name: "unmerged", options: "mrg_rxbuf=off", sends: true, takes: true},
		{name: "unmerged-none", options: "mrg_rxbuf=off", port: "offloads = []\n"},
		{name: "legacy", options: "disable-modern=on,disable-legacy=off,mrg_rxbuf=off", sends: true, takes: true},
		{name: "queues", mq: 2, port: "queues = 2\n", sends: true, takes: true},
		{name: "veth-on", ns: "on", sends: true, takes: true},
		{name: "veth-off", ns: "off", takes: true},
	})
}
