package control

import (
	"errors"

	"vswitchd/internal/tomldoc"
)

// Configuration is the configuration of a running switch as the API needs it. Its methods are
// called by several goroutines at once. An error of a change has a line for each reason, and then
// nothing has changed.
type Configuration interface {
	// Reload makes the configuration that of the file and of the command line, as SIGHUP does.
	Reload() (ConfigChange, error)

	// Config describes what runs, and what the file says.
	Config() ConfigInfo

	// Edit edits what runs. It changes nothing if try is true, but checks the edits and says what
	// they would change. The error is ErrRevision if revision is neither "" nor that of what runs.
	Edit(patch tomldoc.Patch, revision string, try bool) (ConfigChange, error)

	// TryFile checks the text of a configuration file, and says what Reload would change if the
	// file had that text.
	TryFile(text string) (ConfigChange, error)
}

// ErrRevision says that a configuration is not that which an edit was made for.
var ErrRevision = errors.New("the configuration has been changed meanwhile")

// ConfigInfo answers GET /v1/config.
type ConfigInfo struct {
	Revision string         `json:"revision"`       // differs for any two documents
	Document *tomldoc.Table `json:"document"`       // what runs
	Text     string         `json:"text"`           // the same as TOML, without the file's comments
	File     *ConfigFile    `json:"file,omitempty"` // absent: there is none

	// Differences turn the file with what the command line adds to it into what runs. If the file
	// cannot be parsed, there are none.
	Differences List[tomldoc.Edit] `json:"differences"`
}

// ConfigFile is the configuration file.
type ConfigFile struct {
	Path     string         `json:"path"`               // absolute
	Document *tomldoc.Table `json:"document,omitempty"` // what the file says now
	Error    string         `json:"error,omitempty"`    // why there is no document, or why a reload would be refused
}

// ConfigChange answers PATCH /v1/config, POST /v1/config/check and POST /v1/reload.
type ConfigChange struct {
	Changed  List[string] `json:"changed"`  // one line for each change
	Warnings List[string] `json:"warnings"` // about the configuration that has been checked
	Revision string       `json:"revision"` // of what runs now
}

// etag returns the HTTP header ETag of an answer, "" if it has none.
func (c ConfigInfo) etag() string { return `"` + c.Revision + `"` }

func (c ConfigChange) etag() string { return `"` + c.Revision + `"` }
