package daemon

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/tomldoc"
)

// Configuration is the configuration of a running daemon, and the file from which a reload takes
// it. It implements control.Configuration.
type Configuration struct {
	d     *Daemon
	file  string // "": there is none
	flags config.Flags

	mu      sync.Mutex // one change at a time
	cfg     *config.Config
	running atomic.Pointer[config.Running] // stored with mu
}

// NewConfiguration returns the configuration of a daemon that was made with cfg, which
// config.Kinds.LoadRunning has returned for the file and the flags.
func NewConfiguration(d *Daemon, file string, flags config.Flags, cfg *config.Config, running *config.Running) *Configuration {
	if abs, err := filepath.Abs(file); err == nil && file != "" {
		file = abs
	}
	c := &Configuration{d: d, file: file, flags: flags, cfg: cfg}
	c.running.Store(running)
	return c
}

// Reload implements control.Configuration. It logs the changes, or the errors.
func (c *Configuration) Reload() (change control.ConfigChange, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.tellChange("reload", change, err) }()
	cfg, running, errs := c.d.kinds.declarations().LoadRunning(c.file, c.flags)
	if len(errs) > 0 {
		return change, errs
	}
	if change, err = c.apply(c.d.Reload, cfg, running, cfg.Warnings); err == nil && len(change.Changed) == 0 {
		c.d.log.Info("reloaded, nothing has changed")
	}
	return change, err
}

// Edit implements control.Configuration. It logs the changes, or the errors.
func (c *Configuration) Edit(patch tomldoc.Patch, revision string, try bool) (change control.ConfigChange, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision != "" && revision != revisionOf(c.running.Load().Document) {
		return change, control.ErrRevision
	}
	cfg, running, err := c.running.Load().Edit(patch)
	if err != nil {
		if !try {
			c.d.events.configured("edit", &change, err)
		}
		return change, err
	}
	if try {
		return c.describe(c.d.Try, cfg, news(cfg.Warnings, c.cfg.Warnings))
	}
	defer func() { c.tellChange("edit", change, err) }()
	return c.apply(c.d.Change, cfg, running, news(cfg.Warnings, c.cfg.Warnings))
}

// news returns the warnings that there were not before.
func news(now, before config.Errors) config.Errors {
	return slices.DeleteFunc(slices.Clone(now), func(w config.Error) bool {
		return slices.ContainsFunc(before, func(b config.Error) bool { return b.Key == w.Key && b.Msg == w.Msg })
	})
}

// TryFile implements control.Configuration.
func (c *Configuration) TryFile(text string) (change control.ConfigChange, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cfg, _, errs := c.d.kinds.declarations().ParseRunning(c.file, []byte(text), c.flags)
	if len(errs) > 0 {
		return change, errs
	}
	return c.describe(c.d.Try, cfg, cfg.Warnings)
}

// apply changes the daemon to cfg by do, and makes cfg the configuration that runs.
func (c *Configuration) apply(do func(*config.Config) ([]string, error), cfg *config.Config, running *config.Running, warnings config.Errors) (change control.ConfigChange, err error) {
	if change, err = c.describe(do, cfg, warnings); err != nil {
		return change, err
	}
	c.d.log.SetLevel(hclog.LevelFromString(cfg.Log.Level))
	c.cfg = cfg
	c.running.Store(running)
	change.Revision = revisionOf(running.Document)
	return change, nil
}

// describe calls do, and describes what that has changed, with warnings.
func (c *Configuration) describe(do func(*config.Config) ([]string, error), cfg *config.Config, warnings config.Errors) (change control.ConfigChange, err error) {
	if change.Changed, err = do(cfg); err != nil {
		return change, err
	}
	if old := c.cfg.Log.Level; cfg.Log.Level != old {
		change.Changed = append(change.Changed, fmt.Sprintf("log.level: %s -> %s", old, cfg.Log.Level))
	}
	for _, w := range warnings {
		change.Warnings = append(change.Warnings, w.Error())
	}
	change.Revision = revisionOf(c.running.Load().Document)
	return change, nil
}

// tellChange logs what a request has changed, or why it is refused, and tells those who listen.
func (c *Configuration) tellChange(request string, change control.ConfigChange, err error) {
	done, refused := "reloaded", "reload refused"
	if request == "edit" {
		done, refused = "configured", "change refused"
	}
	c.d.events.configured(request, &change, err)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			c.d.log.Error(refused, "reason", strings.TrimSpace(line))
		}
		return
	}
	for _, line := range change.Changed {
		c.d.log.Info(done, "change", line)
	}
	for _, w := range change.Warnings {
		c.d.log.Warn("the configuration may not do what is meant", "reason", w)
	}
}

// Config implements control.Configuration. It does not wait for a change that is being made.
func (c *Configuration) Config() control.ConfigInfo {
	running := c.running.Load()
	text, _ := running.Document.Render()
	info := control.ConfigInfo{Revision: revisionOf(running.Document), Document: running.Document, Text: string(text)}
	file, base, err := c.readFile()
	info.File = file
	if err != nil {
		info.File.Error = err.Error()
		return info
	}
	info.Differences = control.List[tomldoc.Edit](tomldoc.Diff(base, running.Document))
	return info
}

// Text returns what runs, as TOML.
func (c *Configuration) Text() string {
	text, _ := c.running.Load().Document.Render()
	return string(text)
}

// readFile returns what the file says now, nil if there is none, and the same with what the flags
// add to it. The error says why a reload would be refused.
func (c *Configuration) readFile() (file *control.ConfigFile, base *tomldoc.Table, err error) {
	var data []byte
	if c.file != "" {
		file = &control.ConfigFile{Path: c.file}
		if data, err = os.ReadFile(c.file); err != nil {
			return file, nil, err
		}
		if doc, err := tomldoc.Parse(data); err == nil {
			file.Document = doc
		}
	}
	_, running, errs := c.d.kinds.declarations().ParseRunning(c.file, data, c.flags)
	if len(errs) > 0 {
		return cmp.Or(file, &control.ConfigFile{}), nil, errs
	}
	return file, running.Document, nil
}

// revisionOf returns a short text that identifies a document.
func revisionOf(doc *tomldoc.Table) string {
	text, _ := doc.Render()
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
