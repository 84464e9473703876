package controltest

import (
	"vswitchd/internal/control"
	"vswitchd/internal/tomldoc"
)

// Configuration is a control.Configuration that answers with the values that it holds, and records
// what it was called with.
type Configuration struct {
	Info   control.ConfigInfo
	Change control.ConfigChange
	Err    error // of every change

	Patches   []tomldoc.Patch // that Edit was called with
	Revisions []string        // likewise
	Tries     []bool          // likewise
	Texts     []string        // that TryFile was called with
}

// Reload implements control.Configuration.
func (c *Configuration) Reload() (control.ConfigChange, error) { return c.Change, c.Err }

// Config implements control.Configuration.
func (c *Configuration) Config() control.ConfigInfo { return c.Info }

// Edit implements control.Configuration. It changes nothing.
func (c *Configuration) Edit(patch tomldoc.Patch, revision string, try bool) (control.ConfigChange, error) {
	c.Patches, c.Revisions, c.Tries = append(c.Patches, patch), append(c.Revisions, revision), append(c.Tries, try)
	if revision != "" && revision != c.Info.Revision {
		return control.ConfigChange{}, control.ErrRevision
	}
	return c.Change, c.Err
}

// TryFile implements control.Configuration.
func (c *Configuration) TryFile(text string) (control.ConfigChange, error) {
	c.Texts = append(c.Texts, text)
	return c.Change, c.Err
}
