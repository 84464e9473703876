package guest

import (
	"path/filepath"

	"vswitchd/internal/config"
	"vswitchd/internal/port"
)

// Needs implements port.Kind: access to the directory of its socket, and to what other users own
// there.
func (Kind) Needs(p *config.Port) (n port.Needs) {
	if p == nil {
		return port.Needs{Capabilities: port.FilesOfOthers()}
	}
	s := of(p)
	switch {
	case s.FD != 0:
		return n
	case s.Mode == ModeServer:
		n.Directory = filepath.Dir(s.Socket)
	}
	if s.Mode == ModeClient || s.Access.UID >= 0 || s.Access.GID >= 0 {
		n.Capabilities = port.FilesOfOthers()
	}
	return n
}
