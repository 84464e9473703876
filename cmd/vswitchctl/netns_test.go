package main

import (
	"testing"

	"vswitchd/test/swtest"
)

// The commands of documents make interfaces.
func TestMain(m *testing.M) { swtest.RunInPrivateNetns(m) }
