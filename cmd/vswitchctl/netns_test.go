package main

import (
	"os"
	"testing"

	"vswitchd/test/swtest"
)

// The commands of documents make interfaces, and tables have the default width.
func TestMain(m *testing.M) {
	os.Unsetenv("COLUMNS")
	swtest.RunInPrivateNetns(m)
}
