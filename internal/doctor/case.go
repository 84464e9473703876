package doctor

import (
	"io/fs"
	"time"

	"vswitchd/internal/control"
)

// A Case is everything that an examination looks at.
type Case struct {
	Before, After Sample
	Interval      time.Duration // between the two
	Client        string        // version of the program that makes the examination
	Config        Configuration
	Host          *Host // nil: nothing can be seen of the machine
}

// A Sample is what the control API answered at one time.
type Sample struct {
	Switch control.SwitchInfo   // GET /v1/switch
	Ports  []control.PortDetail // GET /v1/ports/NAME for each port
}

// Configuration is what checks need of GET /v1/config.
type Configuration struct {
	Poll      string // [switch] poll; "": the default
	FilePath  string // "": there is no file
	FileError string // why a restart would be refused; "": it would not
	Unsaved   int    // differences between what runs and the file
}

// Host is what can be seen of the machine that vswitchd runs on.
type Host struct {
	ControlSocket File
	Sockets       map[string]File // sockets of guests' ports, by path
	Processes     []Process       // front-ends, and others whose command lines have the path of a port's socket
}

// File is what the system says of a path.
type File struct {
	Exists bool
	Mode   fs.FileMode
	Owner  string // user and group: "root:kvm"
}

// OpenToAll reports whether all users may connect to the socket.
func (f File) OpenToAll() bool { return f.Exists && f.Mode.Perm()&0o002 != 0 }

// Process is a process of the machine.
type Process struct {
	PID  int
	Args []string // the command line
}

// before returns the first sample of a port; if the port is new, it is now.
func (c *Case) before(now *control.PortDetail) *control.PortDetail {
	for i := range c.Before.Ports {
		if p := &c.Before.Ports[i]; p.Name == now.Name && p.Kind == now.Kind {
			return p
		}
	}
	return now
}
