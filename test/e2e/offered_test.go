//go:build e2e

package e2e

import (
	"testing"

	"vswitchd/test/swtest"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/vhostuser/vhostusertest"
)

// offered are the features that a port offers to a front-end, which connects and leaves.
func offered(t *testing.T, s *swtest.Switch, port string) []string {
	t.Helper()
	fe, err := vhostusertest.Dial(s.Socket(port))
	if err != nil {
		t.Fatal(err)
	}
	defer fe.Close()
	bits, err := fe.GetU64(vhostuser.GetFeatures)
	if err != nil {
		t.Fatal(err)
	}
	return vhostuser.FeatureNames(bits, netport.FeatureName)
}
