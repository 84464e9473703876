package port

// Needs is what a port needs of the process after it has been opened, and what it will need to be
// opened again.
type Needs struct {
	Capabilities []string // such as "CAP_NET_RAW", if the process has them at all
	Directory    string   // in which the port makes and removes its socket; "": it makes none
	Edits        []string // directories below which it writes existing files, such as sysctls
}

// FilesOfOthers returns the capabilities by which root uses and gives away files of other users. A
// process of another user has none of them, and needs permission instead.
func FilesOfOthers() []string { return []string{"CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE"} }
