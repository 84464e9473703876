// Package status serves the status page: a web page that shows what the control API says.
//
// The page is embedded and loads nothing from elsewhere. Nobody has to identify himself to see it,
// so there is no request by which the switch could be changed, and what is served is only what
// anybody on the machine may know (control.Server.ReadOnly). Other web sites that a browser has
// open cannot read it: not by making a name of theirs point to this machine, since the name in the
// request is checked, and not by embedding.
//
// The package knows nothing of switches: the figures come from a handler that it is given.
// cmd/vswitchd calls it if a status page is configured.
package status
