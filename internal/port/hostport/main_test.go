package hostport

import (
	"testing"

	"vswitchd/test/swtest"
)

func TestMain(m *testing.M) { swtest.RunInPrivateNetns(m) }
